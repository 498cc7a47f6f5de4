"""The shape of model that tests train, the one that `tests.integration.commands.SMALL` asks for: of
one shape, what is traced for one training serves the next.
"""

import dataclasses

from pfrec.models.config import ModelConfig

SHAPE = ModelConfig(embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,))
# With every kind of variable group.
TEMPLATED = dataclasses.replace(SHAPE, template="additive", rank=2)
