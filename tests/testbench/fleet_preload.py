"""What the processes of ``test_fleet.py`` are forked from: everything that a device imports, read once.

Building the embedded model reads some 1200 modules of transformers and its relatives, 3 s of every process otherwise.
"""

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch

from learning import models, tasks
from learning.config import ModelConfig, TaskConfig

torch.set_num_threads(1)
models.build(ModelConfig(), tasks.load(TaskConfig(train_examples=2, validation_examples=1)))
