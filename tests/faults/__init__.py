"""The faults a run must survive, each with real processes and signals, and what became of the run.

make faults                               every row that is not in benchmarks/results/faults.json yet
python -m faults F3 F8 --again            some of them anew
"""
