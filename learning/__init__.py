"""Federated two-point zeroth-order fine-tuning: in place, with replayable perturbations and a journal.

Import what is needed from the modules: ``learning.federation``, ``learning.models``, ``learning.tasks``,
``learning.journal``, ``learning.replay``. This package itself imports nothing heavy.
"""
