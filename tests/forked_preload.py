"""What the processes of :mod:`tests.forked` are forked from: everything that a run or a server imports, read once.

Building the embedded model reads some 1200 modules of transformers and its relatives, 3 s of every process otherwise.
"""

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import torch.utils.tensorboard

import phy.waveform_airs.emulated  # noqa: F401
import testbench.cli
import testbench.figures
import testbench.progress
import testbench.replaying
import testbench.report  # noqa: F401
from learning import models, tasks
from learning.config import ModelConfig, TaskConfig
from phy.backends import require
from tests import drawings, forked_server

torch.set_num_threads(1)
models.build(ModelConfig(), tasks.load(TaskConfig(train_examples=2, validation_examples=1)))
require("sionna")
forked_server.install()
drawings.install()
