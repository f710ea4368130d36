"""Solvers as their papers write them, one short function each.

A solver is a pure function from one stage's quantities to the next state. It is run on unit
vectors (see ``compile.py``), so it must be linear in them: add them and multiply them by numbers.
Fresh noise comes from calling ``draw``; where a solver calls it is where the run draws.
"""
