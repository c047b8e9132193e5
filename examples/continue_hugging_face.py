"""A model of transformers goes on as the trunk of several tasks, and comes back as one.

    python examples/continue_hugging_face.py FOLDER [MODEL]

MODEL is a folder that `save_pretrained` wrote, with its tokenizer; without one a tiny BERT is made, which knows nothing.
"""

import sys
from pathlib import Path

from tokenizers import BertWordPieceTokenizer
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

import trunkline
from trunkline import api


def tiny(folder: Path, texts: list[str]) -> Path:
    """A BERT of one layer, drawn by chance, and a tokenizer of these texts."""
    words = BertWordPieceTokenizer()
    words.train_from_iterator(texts, vocab_size=300, show_progress=False)
    BertTokenizerFast(tokenizer_object=words._tokenizer, model_max_length=64).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=words.get_vocab_size(), **sizes)).save_pretrained(folder)
    return folder


def main(folder: Path, given: Path | None) -> None:
    project = api.init(folder)
    texts = (project / "tasks" / "topic" / "train.csv").read_text().splitlines()
    start = (given or tiny(project / "bert", texts)).absolute()

    pretrained = [f"trunk={{kind: transformer, pretrained: '{start}'}}", f"tokenizer={{kind: pretrained, source: '{start}'}}"]
    result = trunkline.train(project / "recipes" / "first.yaml", overrides=[*pretrained, "train.steps=20"], in_process=True)

    before, after = (AutoModel.from_pretrained(place) for place in (start, result.model / "trunk"))
    moved = (after.embeddings.word_embeddings.weight - before.embeddings.word_embeddings.weight).abs().max()
    print(
        type(after).__name__,
        f"moved by {moved:.4f};",
        AutoTokenizer.from_pretrained(result.model / "trunk")("A parcel")["input_ids"],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-bert"), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
