"""The packages that a training imports, named in one place for the fork server."""

import scripts.checkpoints
import scripts.datalist
import scripts.engines
import scripts.experiments
import scripts.inferers
import scripts.losses
import scripts.metrics
import scripts.networks
import scripts.outputs
import scripts.transforms  # noqa: F401  (imported for the child processes, not for a name)
