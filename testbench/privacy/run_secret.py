"""The secret of a run: ``private/noise.key`` in its folder, from the first round until the last one is committed.

It keys the noise of the run's own air server and, in one process, the batches of each device; a run that is cut off goes on
with it to the same bits. Other runs have others, so that two runs of one seed share no noise. What is left when it is destroyed
is ``private/destroyed`` with the run's public tag.
"""

from pathlib import Path

from bridge.secrets import derive, destroy_secret, read_secret
from testbench.errors import RunFolderError
from testbench.privacy.secrecy import is_secret
from testbench.scenario import Scenario

__all__ = ["FOLDER", "RunSecret", "run_secret"]

FOLDER = "private"


class RunSecret:
    """The secret of one run.

    :ivar path: its file, of mode 0600
    :ivar tag: public, 64 hexadecimal digits that tell this run from others of the same scenario
    :ivar nonce: 64 hexadecimal digits, by which the run's sessions with an air server are its own; not to be published
    :ivar renewed: whether an earlier secret of the run is destroyed, as its rounds were all committed
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER / "noise.key"
        self._marker = folder / FOLDER / "destroyed"
        self._secret = read_secret(self.path, make=True)
        left = self._marker.read_text().split() if self._marker.is_file() else []
        self.renewed = bool(left)
        self.tag = left[0] if left else derive(self._secret, "pairzero run").hex()
        self.nonce = derive(self._secret, "pairzero sessions").hex()

    def devices(self, count: int) -> list[bytes]:
        """A secret for each device of a run in one process."""
        return [derive(self._secret, f"pairzero device {device}") for device in range(count)]

    def destroy(self) -> str:
        """Remove the secret, which nothing needs any more; returns what a person is told."""
        self._marker.write_text(f"{self.tag}\nThe secret of this run is destroyed, as its last round is committed.\n")
        destroy_secret(self.path)
        return f"{FOLDER}/{self.path.name}, which keyed what protects this run, is destroyed: nobody can draw it again"


def run_secret(folder: Path, scenario: Scenario, rounds: int) -> RunSecret | None:
    """The run's secret, made where the run begins; None where the seed keys everything.

    :param rounds: committed already
    :raises RunFolderError: the rounds so far were keyed otherwise, and a round sent twice would give itself away
    :raises bridge.errors.KeysError: it cannot be read or made
    """
    place = folder / FOLDER
    begun = (place / "noise.key").is_file() or (place / "destroyed").is_file()
    if not is_secret(scenario):
        if begun and rounds:
            raise RunFolderError(
                f"{folder} was started with noise of a secret; resume it as it was started, a fleet or with "
                'privacy.randomness = "secret", or choose another --out'
            )
        return None
    if rounds and not begun:
        raise RunFolderError(
            f"{folder} has {rounds} rounds whose noise is of the seed, or of a secret that is gone from {place}; start a new "
            "run in another --out"
        )
    return RunSecret(folder)
