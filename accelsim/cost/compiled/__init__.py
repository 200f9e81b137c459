"""The closed form in compiled loops, by topic: numbers in, numbers out; no text, no checks, no exceptions.

`accelsim.arrays.array`, `accelsim.cost` and `accelsim.schedule` wrap these functions and say what they mean.
"""
