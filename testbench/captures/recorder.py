"""Record a link's air: a SigMF recording for every device and every antenna, and a collection that names them."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bridge.captures.recording import NAMESPACE
from bridge.captures.writing import RecordingWriter, write_collection
from learning.federation import Federation
from learning.journal import Journal
from learning.uplink import Aggregate
from phy.blocks import waveform_air
from phy.config import LinkConfig
from phy.waveform_airs import MakeAir
from testbench.captures.airs import RememberingAir, refuse_private, waveform_link
from testbench.captures.uplink import LinkUplink
from testbench.elsewhere import MEASURED_CHANNEL, STREAM_AIR, air_of, sha256_of
from testbench.errors import TestbenchError
from testbench.run_folder import RunFolder
from testbench.runner import Watcher, prepare
from testbench.scenario import Scenario

COLLECTION_STEM = "capture"


def _own(**fields: Any) -> dict[str, Any]:
    return {f"{NAMESPACE}:{name}": value for name, value in fields.items()}


class Recorder:
    """An uplink that writes every slot that passes; the collection exists once it is closed without an error.

    A round that nobody sends in, or of which a device stays silent, is written as zeros: every recording has the same slots.

    :param folder: a new or empty folder
    :param make_air: what carries the bursts; None: the air that the link names
    :raises testbench.errors.TestbenchError: the link has no waveforms, or payloads change their shape
    """

    def __init__(self, config: LinkConfig, seed: int, folder: Path, source: str = "", make_air: MakeAir | None = None) -> None:
        make_air = make_air or waveform_air
        airs: list[RememberingAir] = []

        def remember(*of_link: Any) -> RememberingAir:
            airs.append(RememberingAir(make_air(*of_link)))
            return airs[0]

        self._link = waveform_link(config, seed, remember)
        self._air = airs[0]
        self._uplink = LinkUplink(self._link)
        self._config, self._seed, self._folder, self._source = config, seed, folder, source
        self._sent: list[RecordingWriter] = []
        self._received: list[RecordingWriter] = []
        self._shape: tuple[int, ...] = ()
        self.rounds = 0
        self.collection: Path | None = None

    def aggregate(self, round_index: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None = None) -> Aggregate:
        """The link's estimates [n] for payloads [K, n]; its bursts and samples go into the recordings."""
        self._air.take()
        answer = self._uplink.aggregate(round_index, payloads, present)
        devices, scalars = payloads.shape
        if not self._shape:
            self._open(devices, scalars)
        elif self._shape != payloads.shape:
            raise TestbenchError(f"payloads changed from {self._shape} to {payloads.shape}; a capture has one shape")
        count = self._link.layout(devices, scalars).slot_samples
        bursts = np.zeros((devices, count), np.complex64)
        samples = np.zeros((self._config.receive_antennas, count), np.complex64)
        passed = self._air.take()
        slot_lost = passed is not None and passed[1] is None
        if passed is not None:
            bursts = passed[0]
            samples = samples if passed[1] is None else passed[1]
        shared = _own(round=round_index, seed=self._seed)
        for device, writer in enumerate(self._sent):
            on_air = present is None or bool(present[device])
            own = _own(device=device, payload=payloads[device].tolist(), present=on_air)
            writer.append(bursts[device], {**shared, **own}, f"round {round_index} device {device}")
        for antenna, writer in enumerate(self._received):
            own = _own(
                antenna=antenna,
                payloads=payloads.tolist(),
                present=None if present is None else present.tolist(),
                lost=answer.lost,
                slot_lost=slot_lost,
                estimate=None if answer.lost else answer.estimate.tolist(),
            )
            writer.append(samples[antenna], {**shared, **own}, f"round {round_index}")
        self.rounds += 1
        return answer

    def _open(self, devices: int, scalars: int) -> None:
        layout = self._link.layout(devices, scalars)
        rate, carrier = self._config.burst.sample_rate_hz, self._config.clock.carrier_hz
        fields = _own(
            link=self._config.model_dump(mode="json"),
            seed=self._seed,
            devices=devices,
            scalars=scalars,
            antennas=self._config.receive_antennas,
            slot_samples=layout.slot_samples,
            reference_sample=layout.reference_sample,
            source=self._source,
        )
        channel = self._config.channel
        if channel.model == MEASURED_CHANNEL and channel.file is not None:
            fields |= _own(channel_sha256=sha256_of(Path(channel.file)))
        for kind, writers, count in (
            ("device", self._sent, devices),
            ("antenna", self._received, self._config.receive_antennas),
        ):
            for index in range(count):
                what = f"what device {index} sent" if kind == "device" else f"what antenna {index} received"
                own = {**fields, **_own(stream=kind, index=index), "core:description": what}
                writers.append(RecordingWriter(self._folder / f"{kind}-{index}", rate, carrier, own))
        self._shape = (devices, scalars)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        writers = [*self._sent, *self._received]
        if kind is not None:
            for writer in writers:
                writer.abandon()
            return
        if not writers:
            raise TestbenchError("no round was recorded; ask for at least one")
        metas = [writer.close() for writer in writers]
        fields = _own(seed=self._seed, source=self._source, rounds=self.rounds)
        self.collection = write_collection(self._folder / COLLECTION_STEM, metas, fields)


def record(scenario: Scenario, rounds: int, folder: Path, watcher: Watcher, run: RunFolder | None = None) -> Path:
    """Fine-tune for ``rounds`` rounds as the scenario says and record the air; returns the collection.

    The rounds are computed anew, in this process: with the scenario's seed they are those of a run of it, and where ``run``
    has a journal, every estimate is compared with it. Raises :class:`testbench.errors.TestbenchError` where one differs.
    """
    refuse_private(scenario)
    if scenario.link.fidelity != "waveform":
        waveform_link(scenario.link, scenario.seed)  # raises, before models are loaded
    if run is not None and scenario.link.burst.air == STREAM_AIR:
        raise TestbenchError(
            f"{run.path} went through a stream, whose samples cannot be computed anew; record new rounds of it: pairzero "
            f"capture record {run.scenario}"
        )
    if folder.exists() and any(folder.iterdir()):
        raise TestbenchError(f"{folder} is not empty; choose another --out")
    if rounds > scenario.federation.rounds:
        raise TestbenchError(f"the scenario has {scenario.federation.rounds} rounds, not {rounds}; raise federation.rounds")
    data, build = prepare(scenario, watcher)
    expected = _journalled(run)
    air = air_of(scenario)
    with Recorder(scenario.link, scenario.seed, folder, scenario.name, air) as recorder, Journal(":memory:") as journal:
        federation = Federation(build(), data, scenario.federation, scenario.zeroth_order, recorder, journal)
        watcher.started("recording", 0, rounds)
        try:
            for done in federation.run(rounds):
                watcher.round(done.mean_loss, None)
        finally:
            watcher.finished()
        for row in journal.rows():
            if row.round in expected and row.estimates != expected[row.round]:
                raise TestbenchError(
                    f"round {row.round} gave {row.estimates} here and {expected[row.round]} in the run's journal; record on "
                    "the machine of the run"
                )
    assert recorder.collection is not None
    return recorder.collection


def _journalled(run: RunFolder | None) -> dict[int, tuple[float, ...] | None]:
    if run is None or not run.journal.is_file():
        return {}
    with Journal(run.journal, read_only=True) as journal:
        return {row.round: row.estimates for row in journal.rows()}
