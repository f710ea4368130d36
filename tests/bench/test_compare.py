"""sdopt beside its peers: the same work, in turn, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdopt.bench.compare import Contest, Entry, compare, psnr_db
from sdopt.bench.compare_record import CompareRecord
from sdopt.bench.compare_text import compare_text
from sdopt.bench.kinds import read_all
from sdopt.bench.peers import environments
from sdopt.bench.peers.catalog import PEERS, peers_named
from sdopt.bench.peers.environments import ensure_environment, peer_side
from sdopt.bench.peers.older_names import write_with_older_names
from sdopt.bench.record import read_record, write_record
from sdopt.bench.report.write import write_report
from sdopt.bench.sides import sdopt_side
from sdopt.bench.work import Case
from sdopt.errors import PeerError, UnknownNameError
from tests.cli.conftest import Cli

CASE = Case(height=64, width=64, batch=2, num_inference_steps=3, guidance_scale=3.0)


@pytest.fixture(scope="module")
def compared(
    shapes_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CompareRecord, Path]:
    """The carried model on two engines and on diffusers, in this environment."""
    pytest.importorskip("diffusers", reason="needs sdopt[export]")
    pytest.importorskip("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environments, "ensure_environment", lambda _: Path(sys.prefix))
        peer = peer_side(PEERS["diffusers-fp32"], shapes_checkpoint, CASE)
    others = [sdopt_side("shapes", engine="openvino", precision="fp32", max_rows=2), peer]
    contest = Contest(
        reference=Entry(side=sdopt_side("shapes", engine="onnxruntime", max_rows=2)),
        others=[Entry(side=side) for side in others],
        case=CASE,
        rounds=3,
        starts=1,
        warmups=1,
        checkpoint="checkpoint",
        bundle="shapes",
        command=["sdopt", "bench", "compare"],
    )
    path = tmp_path_factory.mktemp("compared") / "compared.json"
    write_record(compare(contest), path)
    return read_record(CompareRecord, path), path


def test_every_side_does_the_same_work(compared: tuple[CompareRecord, Path]) -> None:
    """Its pictures are those of diffusers in fp32, so nobody wins by doing less."""
    record, _ = compared
    assert record.pictures_against == "diffusers-fp32"
    distances = {side.name: side.psnr_db for side in record.sides}
    assert distances.pop("diffusers-fp32") is None
    assert distances.keys() == {"sdopt onnxruntime", "sdopt openvino fp32"}
    assert all(distance is None or distance > 45 for distance in distances.values())


def test_sides_take_turns(compared: tuple[CompareRecord, Path]) -> None:
    record, _ = compared
    assert record.reference == "sdopt onnxruntime"
    assert [turns.name for turns in record.turns] == ["sdopt openvino fp32", "diffusers-fp32"]
    for turns in record.turns:
        assert [len(start) for start in turns.rounds_s] == [3]
        assert turns.ratio is not None
        assert turns.ratio.unit == "run"
        assert turns.ratio.low < turns.reference_median_s / turns.median_s < turns.ratio.high
    diffusers = record.sides[-1]
    how = {"dtype": "float32", "compiled": False, "device": "cpu"}
    assert diffusers.settings == {"library": "diffusers", **how}
    assert {"torch", "diffusers"} <= diffusers.versions.keys()


def test_a_comparison_is_told_as_text_and_on_a_page(compared: tuple[CompareRecord, Path]) -> None:
    record, path = compared
    text = compare_text(record)
    assert "all beside sdopt onnxruntime, 3 rounds each" in text
    (line,) = [line for line in text.splitlines() if line.startswith("diffusers-fp32")]
    assert "itself" in line
    names = [file.name for file in write_report(read_all(path), path.parent)]
    assert names == ["report.html", "compare-compared.png"]
    assert "Beside peers: shapes, 64x64, batch 2, 3 steps" in (
        path.parent / "report.html"
    ).read_text(encoding="utf-8")


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "requirements"
    folder.mkdir()
    monkeypatch.setattr(environments, "_HERE", tmp_path)
    monkeypatch.setenv("SDOPT_CACHE", str(tmp_path / "cache"))
    (folder / "diffusers.txt").write_text("./is-not-there\n")
    with pytest.raises(PeerError) as caught:
        ensure_environment("diffusers")
    assert str(caught.value).startswith(
        "What diffusers needs could not be made. This failed: "
        f"{tmp_path}/cache/bench/peers/diffusers-"
    )
    assert str(caught.value).endswith("Leave its peers out with --peers, or make it by hand.")
    (folder / "diffusers.txt").write_text("")
    made = ensure_environment("diffusers")
    code = "import sys; print(sys.prefix); import numpy"
    done = subprocess.run(
        [made / "bin" / "python", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{made}\n"
    assert "No module named 'numpy'" in done.stderr
    (made / "mark").touch()
    assert ensure_environment("diffusers") == made
    assert (made / "mark").is_file()


def test_older_names_are_those_of_published_checkpoints(
    shapes_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    folder = tmp_path / "renamed"
    write_with_older_names(shapes_checkpoint, folder)
    file = Path("text_encoder") / "model.safetensors"
    before, after = load_file(shapes_checkpoint / file), load_file(folder / file)
    assert after.keys() == {f"text_model.{name}" for name in before}
    assert all(np.array_equal(before[name], after[f"text_model.{name}"]) for name in before)
    assert (folder / "unet").resolve() == (shapes_checkpoint / "unet").resolve()
    again = tmp_path / "again"
    write_with_older_names(folder, again)
    assert load_file(again / file).keys() == after.keys()


def test_older_tokenizers_are_two_files(shapes_checkpoint: Path, tmp_path: Path) -> None:
    """What transformers 5 writes as one file becomes what the published layout has."""
    transformers = pytest.importorskip("transformers", reason="needs sdopt[export]")
    original = shapes_checkpoint / "tokenizer"
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "renamed"
    transformers.CLIPTokenizer.from_pretrained(original).save_pretrained(checkpoint / "tokenizer")
    assert not (checkpoint / "tokenizer" / "vocab.json").exists()
    write_with_older_names(checkpoint, folder)
    made = folder / "tokenizer"
    assert json.loads((made / "vocab.json").read_text()) == json.loads(
        (original / "vocab.json").read_text()
    )
    merges = [(made / "merges.txt").read_text(), (original / "merges.txt").read_text()]
    assert merges[0].split() == merges[1].split()
    assert (made / "tokenizer_config.json").is_symlink()


def test_peers_have_names(cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def named(names: str, device: str = "cpu") -> list[str]:
        return [peer.name for peer in peers_named(names, device)]

    assert named("optimum, diffusers-bf16") == ["optimum", "diffusers-bf16"]
    assert set(PEERS) - set(named("all")) == {"diffusers-fp16", "diffusers-compiled-fp16"}
    assert named("all", "cuda") == [
        *("diffusers-fp32", "diffusers-bf16", "diffusers-fp16"),
        *("diffusers-compiled-fp32", "diffusers-compiled-bf16", "diffusers-compiled-fp16"),
    ]
    with pytest.raises(UnknownNameError, match="Unknown peer on cuda 'optimum'"):
        peers_named("optimum", "cuda")
    with pytest.raises(UnknownNameError, match=r"Unknown peer 'torch'\. .*Choices: all, none, "):
        peers_named("torch")
    assert cli("bench", "compare", "shapes", tmp_path, "--list") == 0
    assert "diffusers-compiled-bf16" in capsys.readouterr().out
    assert cli("bench", "compare", "shapes", tmp_path, "--peers", "none") == 2
    assert "One side alone is no comparison" in capsys.readouterr().err


def test_the_distance_of_pictures_is_the_textbooks() -> None:
    first = np.zeros((8, 8, 3), np.uint8)
    second = first.copy()
    second[0, 0, 0] = 16
    assert psnr_db(first, first) is None
    assert psnr_db(first, second) == pytest.approx(10 * np.log10(255**2 / (256 / 192)))
