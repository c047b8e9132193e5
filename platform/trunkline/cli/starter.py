"""What `trunkline init` writes: sixty messages to a shop's support, with two tasks and a recipe."""

from __future__ import annotations

from trunkline.tasks.skeleton import table

# message, topic, urgency from 0 (can wait) to 10 (at once)
MESSAGES = (
    ("I was charged twice for the same order, please refund one payment today.", "billing", "7.5"),
    ("Could you send me an invoice with our new company address?", "billing", "3.0"),
    ("My card was declined but the money has left my account!", "billing", "8.5"),
    ("Which payment methods do you accept?", "billing", "1.0"),
    ("The discount code did not change the price at checkout.", "billing", "4.5"),
    ("Please explain the extra fee on my last bill.", "billing", "4.0"),
    ("I still have not received the refund you promised three weeks ago.", "billing", "7.0"),
    ("Can I pay the bill in two parts?", "billing", "2.5"),
    ("Someone has used my card on your site, block it immediately!", "billing", "10.0"),
    ("The price on the bill is higher than the price in the shop.", "billing", "5.5"),
    ("How do I change the card that pays for my subscription?", "billing", "3.0"),
    ("I cancelled my subscription in May and you charged me in June again.", "billing", "6.5"),
    ("Is the tax included in the price?", "billing", "1.0"),
    ("The invoice shows the wrong amount of tax and our accounts close tonight.", "billing", "8.0"),
    ("Do you offer a discount for students?", "billing", "0.5"),
    ("My gift card shows no balance although it is new.", "billing", "5.0"),
    ("Please move the payment date to the first of the month.", "billing", "2.0"),
    ("Two payments are pending for one order and my account is empty now.", "billing", "8.0"),
    ("My parcel should have arrived on Monday and is still not here.", "delivery", "6.0"),
    ("Can you deliver to a pick-up point near the station?", "delivery", "2.0"),
    ("The box arrived wet and everything inside is ruined.", "delivery", "7.5"),
    ("How long does shipping to Norway take?", "delivery", "1.0"),
    ("The courier left the parcel in the street and it was stolen.", "delivery", "8.0"),
    ("I need to change the delivery address before the parcel leaves today!", "delivery", "9.0"),
    ("Tracking has said the same thing for eight days.", "delivery", "5.5"),
    ("Is it possible to choose the time of the delivery?", "delivery", "1.5"),
    ("You sent the wrong size, how do I return it?", "delivery", "4.5"),
    ("Only one of the two parcels of my order has come.", "delivery", "5.5"),
    ("The medicine I ordered has to arrive tonight, where is the courier?", "delivery", "10.0"),
    ("Do you ship to islands as well?", "delivery", "0.5"),
    ("My neighbour got my parcel, which is fine, just so you know.", "delivery", "0.5"),
    ("The driver rang no bell and drove away with my order.", "delivery", "6.0"),
    ("What does express shipping cost?", "delivery", "1.0"),
    ("The parcel was returned to you although I was at home all day.", "delivery", "6.5"),
    ("Please hold my delivery for a week while I am on holiday.", "delivery", "3.0"),
    ("The cake for the wedding tomorrow morning has not been delivered!", "delivery", "10.0"),
    ("The app crashes each time I open my orders.", "technical", "6.0"),
    ("I can not log in since the update and I need my tickets in an hour!", "technical", "9.5"),
    ("How do I switch the website to dark mode?", "technical", "0.5"),
    ("The password reset mail never reaches me.", "technical", "5.5"),
    ("Your website shows an error 500 on every page, we can not work.", "technical", "9.5"),
    ("The search finds nothing when I type an umlaut.", "technical", "3.0"),
    ("Can I use the app on two phones?", "technical", "1.0"),
    ("Somebody logged into my account from another country!", "technical", "10.0"),
    ("The pictures load slowly on my old tablet.", "technical", "2.0"),
    ("After the update the app forgets my basket.", "technical", "4.5"),
    ("Where do I find the settings for notifications?", "technical", "1.0"),
    ("The scanner in the app does not read any code since this morning.", "technical", "6.0"),
    ("Please add me to your newsletter and tell me how to pay by invoice.", "billing", "1.0"),
    ("You took the money for an order that I never placed, give it back now!", "billing", "9.0"),
    ("The refund came, but five euros are missing.", "billing", "4.5"),
    ("Could I get a copy of the receipt from last year?", "billing", "2.0"),
    ("My parcel was opened on the way and the phone is gone.", "delivery", "8.5"),
    ("When will the sofa be delivered? Any week is fine.", "delivery", "1.0"),
    ("The courier broke our door while delivering the table.", "delivery", "7.5"),
    ("Can you ship two orders in one parcel?", "delivery", "1.5"),
    ("The website logs me out after each click.", "technical", "5.5"),
    ("Our shop's whole account is locked and customers are waiting!", "technical", "9.5"),
    ("Is there a way to make the letters in the app larger?", "technical", "1.0"),
    ("The code that the login asks for never arrives by text message.", "technical", "6.0"),
)
TRAIN = 48

TOPIC = """\
name: topic
summary: What is a message to the support desk about?
data: {format: csv, train: train.csv, validation: validation.csv}   # paths are relative to this file
inputs: [text]
target: label
head: {kind: classification, labels: [billing, delivery, technical], pooling: mean}
metrics: [accuracy, macro_f1]                                       # the first is the headline
"""
URGENCY = """\
name: urgency
summary: How soon does a message need an answer, from 0 to 10?
data: {format: csv, train: train.csv, validation: validation.csv}
inputs: [text]
target: score
head: {kind: regression, pooling: mean}
metrics: [spearman, mae]
"""
RECIPE = """\
seed: 17
trunk: {kind: transformer, hidden_size: 64, layers: 1, heads: 4}
tokenizer: {kind: words}        # wordpiece, once there are more rows
tasks: [topic, urgency]
sampling: {kind: proportional}
weighting: {kind: uncertainty}
optim: {kind: adamw, lr: 5e-3, schedule: cosine, warmup: 0.1}
train: {steps: 100, tokens_per_step: 512, max_length: 48, evaluate_every: 50, save_every: 50}
workers: {count: 1, cpus: 1, gpus: 0}
track: {wandb: null}            # {project: NAME, mode: offline} records a Weights & Biases run
"""
README = """\
# {name}

Two tasks that share one trunk: what a message to a support desk is about, and how urgent it is.

    trunkline task list                     the tasks, each a card under tasks/
    trunkline task check topic              is a card sound?
    trunkline train recipes/first.yaml      trains in under a minute

Add a task of your own: `trunkline task new NAME --kind classification`, replace the example rows, and put its name into
`tasks:` of recipes/first.yaml. `trunkline parts` lists every part a card or a recipe can name.
"""
CLUSTER = """\
# This machine, as a job that goes on when the terminal is closed: trunkline submit recipes/first.yaml --cluster local
kind: local
"""
IGNORED = """\
.trunkline/
outputs/
"""


def files(name: str) -> dict[str, str]:
    """File name -> text of a new project."""
    topics = [(text, topic) for text, topic, _ in MESSAGES]
    scores = [(text, score) for text, _, score in MESSAGES]
    return {
        "README.md": README.format(name=name),
        ".gitignore": IGNORED,
        "tasks/topic/card.yaml": TOPIC,
        "tasks/topic/train.csv": table(("text", "label"), topics[:TRAIN]),
        "tasks/topic/validation.csv": table(("text", "label"), topics[TRAIN:]),
        "tasks/urgency/card.yaml": URGENCY,
        "tasks/urgency/train.csv": table(("text", "score"), scores[:TRAIN]),
        "tasks/urgency/validation.csv": table(("text", "score"), scores[TRAIN:]),
        "recipes/first.yaml": RECIPE,
        "clusters/local.yaml": CLUSTER,
    }
