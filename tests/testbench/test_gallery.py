"""Figures by name: closed forms against draws of their own, delegation, refusals."""

import numpy as np
import pytest

from testbench.errors import TestbenchError
from testbench.gallery import _delegate
from testbench.gallery._find import find, names
from testbench.gallery._job import Job
from testbench.gallery._learning import learning
from testbench.gallery._projections import Study, load_study, reversal_probabilities
from testbench.gallery._tables import draw_table
from testbench.gallery._theory import clipped_normal_variance, truncated_link
from testbench.sweep.table import read_table


def test_every_figure_and_table_of_the_field_is_there():
    assert names() == [*(f"F{n}" for n in range(1, 12)), "T1", "T2"]
    assert all(find(name).TITLE for name in names())
    with pytest.raises(TestbenchError, match="there is no figure F12; did you mean F"):
        find("F12")


@pytest.mark.parametrize(
    ("estimator", "error", "rho"), [("perfect", 0.0, 1.0), ("ls", 0.05, 1.0), ("mmse", 0.05, 1.0), ("perfect", 0.0, 0.95)]
)
def test_closed_forms_of_truncated_inversion_are_those_of_a_plain_monte_carlo(estimator, error, rho):
    draws, devices, threshold, snr_db = np.random.default_rng(5), 4, 0.2, 10.0
    rounds, n0 = 200_000, 10.0 ** (-snr_db / 10)

    def normal(*shape):
        return (draws.standard_normal(shape) + 1j * draws.standard_normal(shape)) / np.sqrt(2)

    pilot_channel = normal(rounds, devices)
    channel = rho * pilot_channel + np.sqrt(1 - rho**2) * normal(rounds, devices)
    known = pilot_channel + np.sqrt(error) * normal(rounds, devices)
    if estimator == "mmse":
        known = known / (1 + error)
    common = np.sqrt(0.5) * draws.standard_normal((rounds, 1))
    scalars = np.clip(0.3 * (common + np.sqrt(0.5) * draws.standard_normal((rounds, devices))), -1, 1)
    active = np.abs(known) ** 2 >= threshold
    count = active.sum(axis=1)
    heard = count > 0
    received = (np.where(active, channel / known, 0) * scalars).sum(axis=1) * np.sqrt(threshold) + np.sqrt(n0) * normal(rounds)
    estimate = received.real[heard] / (np.sqrt(threshold) * count[heard])
    mean = scalars.mean(axis=1)[heard]
    expected = truncated_link(devices, snr_db, threshold, estimator, error, rho)
    nmse_db = 10 * np.log10(np.square(estimate - mean).mean() / np.square(mean).mean())
    assert nmse_db == pytest.approx(expected.nmse_db, abs=0.15)
    if estimator == "perfect" and rho == 1.0:
        assert np.mean(np.sign(estimate) != np.sign(mean)) == pytest.approx(expected.wrong_sign, abs=0.004)


def test_variance_of_a_clipped_normal_is_its_integral():
    at = np.linspace(-12, 12, 400_001)
    density = np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi)
    for sigma in (0.1, 0.3, 1.0, 3.0):
        integral = np.trapezoid(np.clip(sigma * at, -1, 1) ** 2 * density, at)
        assert clipped_normal_variance(sigma) == pytest.approx(integral, rel=1e-6)


def test_sign_reversal_of_gaussian_projections_is_a_normal_tail():
    from scipy.stats import norm

    draws = np.random.default_rng(3)
    projections = draws.standard_normal((1, 3, 2000)) + np.array([0.0, 0.1, -0.3])[:, None]
    e, means = reversal_probabilities(projections, 50, 4000, seed=1)
    true, spread = projections.mean(axis=-1), projections.std(axis=-1, ddof=1)
    expected = norm.sf(np.abs(true) / (spread * np.sqrt((1 - 50 / 2000) / 50)))
    assert means.shape == (1, 3, 4000)
    assert np.abs(e - expected).max() < 0.03


def test_a_link_figure_is_drawn_resumed_and_drawn_again(tmp_path, monkeypatch, sharp):
    from testbench.gallery import f11

    job = Job("F11", tmp_path, sets=["link.air=numpy"], workers=1)
    monkeypatch.setattr(f11, "_ROUNDS", 400)
    path = f11.draw(job)
    assert {p.name for p in tmp_path.iterdir()} >= {"F11.png", "F11.pdf", "F11.csv", "peak", "average"}
    rows = (tmp_path / "F11.csv").read_text()
    path.unlink()
    assert f11.draw(Job("F11", tmp_path, sets=["link.air=numpy"], redraw=True)).is_file()
    assert (tmp_path / "F11.csv").read_text() == rows
    assert len(read_table(tmp_path / "peak")) == 14
    with pytest.raises(TestbenchError, match=r"lacks what F11 is drawn from: 14 of 14 points of peak are missing"):
        f11.draw(Job("F11", tmp_path, redraw=True))
    with pytest.raises(TestbenchError, match=r"lacks what F11 is drawn from: there is no .*peak"):
        f11.draw(Job("F11", tmp_path / "nothing", redraw=True))


def test_figures_of_privacy_are_those_of_its_own_command(tmp_path, monkeypatch):
    from testbench.privacy import figures

    calls = []
    monkeypatch.setattr(figures, "draw", lambda name, folder, quick, tell: calls.append((name, quick)) or folder / "x.png")
    for name in ("F2", "F3", "F4", "F10"):
        find(name).draw(Job(name, tmp_path))
    find("F3").draw(Job("F3", tmp_path, paper=True))
    assert calls == [("F2", True), ("F3", True), ("F4", True), ("F10", True), ("F3", False)]
    with pytest.raises(TestbenchError, match="takes no --set"):
        find("F3").draw(Job("F3", tmp_path, sets=["seed=2"]))


def test_paper_settings_name_all_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TestbenchError, match=r"lacks the weights of OPT-125M .* and SST-2"):
        find("F1").draw(Job("F1", tmp_path / "out", paper=True))
    squad = ["task.name=squad", "task.folder=here", "model.path=there"]
    with pytest.raises(TestbenchError, match=r"lacks SQuAD v1\.1 \(no here/train-v1\.1\.json; --set task\.folder=FOLDER\)"):
        find("F1").draw(Job("F1", tmp_path / "out", paper=True, sets=squad))


def test_squad_is_drawn_by_its_f1(tmp_path):
    what = learning(Job("F1", tmp_path, sets=["task.name=squad", "task.folder=here", "model.path=there"]))
    assert (what.zero_shot, what.final, what.spoken) == ("f1_zero_shot", "f1_final", "F1")
    assert what.words.startswith("there on squad")
    assert learning(Job("F1", tmp_path)).words.startswith("embedded model")


def test_a_study_without_its_arrays_is_refused(tmp_path):
    one, whole = np.ones(1), np.ones(1, np.int64)
    Study(np.ones((1, 1, 4)), whole, whole, one, np.ones((1, 2)), np.array(8.0), np.array(16), np.array(1)).save(
        tmp_path / "a.npz"
    )
    assert load_study(tmp_path / "a.npz").projections.shape == (1, 1, 4)
    np.savez(tmp_path / "b.npz", rounds=whole)
    with pytest.raises(TestbenchError, match="does not hold the measurements that F9 is drawn from"):
        load_study(tmp_path / "b.npz")


def test_a_delegate_takes_the_files_of_its_command(tmp_path, monkeypatch):
    def command(scenario, sets, out):
        (out / "figures").mkdir(parents=True)
        for name in ("figures/a.png", "figures/a.pdf", "a.csv"):
            (out / name).write_text(f"{scenario} {sets}")

    import types

    monkeypatch.setattr(_delegate.importlib, "import_module", lambda name: types.SimpleNamespace(command=command))
    files = {"png": "figures/a.png", "pdf": "figures/a.pdf", "csv": "a.csv"}
    job = Job("F8", tmp_path, sets=["seed=2"])
    assert _delegate.run_command(job, "run", {"scenario": "demo"}, files, resumes=False) == tmp_path / "F8.png"
    assert (tmp_path / "F8.csv").read_text() == "demo ['seed=2']"
    with pytest.raises(TestbenchError, match="which this version does not have"):
        _delegate.run_command(job, "nothing", {}, files, resumes=False)
    with pytest.raises(TestbenchError, match=r"lacks what F8 is drawn from"):
        _delegate.run_command(Job("F8", tmp_path / "x", redraw=True), "run", {}, files, resumes=False)


def test_tables_are_pictures_and_markdown(tmp_path, sharp):
    path = draw_table(tmp_path, "T9", "title", ["a", "b"], [["1", "2 ± 3"]], "a caption")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "T9.pdf").read_bytes()[:4] == b"%PDF"
    assert (tmp_path / "T9.md").read_text().splitlines()[:3] == ["| a | b |", "| --- | --- |", "| 1 | 2 ± 3 |"]
