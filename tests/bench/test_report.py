"""Pages, plots and verdicts from records."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdopt.bench.bench_record import BenchRecord, CaseSamples, Memory, Sample, Start, Subject
from sdopt.bench.environment import Environment, Processor
from sdopt.bench.kinds import read_all
from sdopt.bench.reached import Reached, reached, rows_of
from sdopt.bench.record import write_record
from sdopt.bench.report.roofline_plot import close_together
from sdopt.bench.roofline.machine import MachineRates
from sdopt.bench.roofline.profile import ComponentLimit, Roofline
from sdopt.bench.versions import compare_versions
from sdopt.bench.work import Amount, Case
from sdopt.errors import BenchError
from tests.cli.conftest import Cli

PLOTS = ("stages", "distributions", "scaling")


def record(slower: float = 1.0, noise: float = 0.01, processes: int = 5) -> BenchRecord:
    """Return a record of a made-up machine: two batches, five processes of four requests."""
    rng = np.random.default_rng(round(1000 * slower))

    def sample(batch: int, bias: float) -> Sample:
        unet = tuple(
            round(0.1 * batch * slower * bias * (1 + abs(rng.normal(0, 0.002))), 7)
            for _ in range(20)
        )
        stages = {"request": 0.001, "tokenizer": 0.002, "text_encoder": 0.03, "unet_first": unet[0]}
        stages |= {"unet_rest": round(sum(unet[1:]), 7), "scheduler": 0.01}
        stages |= {"vae_decoder": 0.2 * batch, "pixels": 0.004, "png": 0.02}
        return Sample(wall_s=round(sum(stages.values()), 6), stages_s=stages, unet_calls_s=unet)

    def samples(batch: int) -> CaseSamples:
        biases = np.exp(rng.normal(0, noise, processes))
        case = Case(height=512, width=512, batch=batch, num_inference_steps=20, guidance_scale=7.5)
        made = tuple(tuple(sample(batch, bias) for _ in range(4)) for bias in biases)
        return CaseSamples(case=case, processes=made)

    start = Start(interpreter_s=0.1, import_s=0.4, load_s=3.0, first_picture_s=2.5)
    processor = Processor(name="A <processor>", cores=8, mhz=None, governor=None, flags=("avx2",))
    return BenchRecord(
        kind="bench",
        format_version=1,
        made_at="2026-01-01T00:00:00Z",
        command=("sdopt", "bench", "tiny"),
        environment=Environment(
            system="Linux",
            python="3.12",
            processor=processor,
            memory_bytes=None,
            load_average=0.0,
            gpus=({"name": "A GPU", "driver_version": "1"},),
            versions={"sdopt": "0"},
        ),
        subject=Subject(
            bundle="tiny",
            bundle_sha256="0" * 64,
            family="sd1",
            engine="onnxruntime",
            device="cpu",
            precisions={"unet": "fp32"},
            stored_engines={"unet": None},
        ),
        amount=Amount(processes=processes, warmups=2, runs=4),
        first_start=start,
        starts=(start,) * processes,
        memory=(Memory(host_bytes=10**9, device_bytes=None),) * processes,
        cases=(samples(1), samples(4)),
        left_out=("loading",),
    )


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a record and the report of it."""
    from sdopt.bench.report.write import write_report

    folder = tmp_path_factory.mktemp("report")
    write_record(record(), folder / "one.json")
    write_report(read_all(folder), folder)
    return folder


def test_the_page_needs_nothing_else(reported: Path) -> None:
    text = (reported / "report.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(PLOTS)
    assert set(re.findall(r'(?:src|href)="(\w+):', text)) == {"data"}
    assert "<script" not in text
    assert "A &lt;processor&gt;, 8 cores" in text
    for said in ("tiny, onnxruntime fp32", "512×512, 20 steps, batch 4", "Cold start", "A GPU"):
        assert said in text


@pytest.mark.parametrize("name", PLOTS)
def test_nothing_is_cut_off_a_plot(reported: Path, name: str) -> None:
    """The outermost pixels are background, so no label runs out of the picture."""
    with Image.open(reported / f"{name}.png") as image:
        pixels = np.asarray(image.convert("L"))
    frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert frame.min() == 255
    assert (pixels < 128).mean() > 0.001


@pytest.fixture(scope="module")
def points() -> list[Reached]:
    """Made up so: 0.2 s a picture in the decoder, 0.1 s for each picture of a UNet call."""
    made = record()
    machine = MachineRates(product_per_s=1e9, precision="fp32", copy_bytes_per_s=1e9)

    def limit(component: str) -> ComponentLimit:
        return ComponentLimit(
            component=component, operations=10**7, least_bytes=1, limit_s=0.01, bound="products",
            nodes=(),
        )  # fmt: skip

    components = (limit("unet"), limit("vae_decoder"))
    rooflines = tuple(
        Roofline(case=each.case, machine=machine, components=components) for each in made.cases
    )
    return reached(rows_of([dataclasses.replace(made, rooflines=rooflines)]))


def batch_and_component(point: Reached) -> tuple[int, str]:
    return point.row.case.case.batch, point.limit.component


def test_a_call_is_one_picture_for_the_decoder_and_all_rows_for_the_unet(
    points: list[Reached],
) -> None:
    assert [(*batch_and_component(point), point.seconds) for point in points] == [
        (1, "unet", pytest.approx(0.1, rel=0.05)),
        (1, "vae_decoder", pytest.approx(0.2)),
        (4, "unet", pytest.approx(0.4, rel=0.05)),
        (4, "vae_decoder", pytest.approx(0.2)),
    ]
    assert points[1].share == pytest.approx(0.05)


def test_points_in_the_same_place_have_one_label(points: list[Reached]) -> None:
    groups = [[batch_and_component(point) for point in group] for group in close_together(points)]
    assert groups == [
        [(4, "unet")],
        [(1, "vae_decoder"), (4, "vae_decoder")],
        [(1, "unet")],
    ]


def test_versions_are_compared_with_the_noise_in_view() -> None:
    usual = [record()]
    slowed = compare_versions(usual, [record(1.3)], 0.05)
    equal = compare_versions(usual, [record(1.001)], 0.05)
    noisy = compare_versions(usual, [record(1.06, noise=0.1)], 0.05)
    assert [each.verdict for each in slowed] == ["slower"] * 2
    assert [each.verdict for each in equal] == ["not slower"] * 2
    assert [each.verdict for each in noisy] == ["undecided"] * 2
    assert slowed[0].doubts == ()
    assert re.fullmatch(
        r"slower: \+2\d\.\d% \(\+2\d\.\d% to \+\d\d\.\d%\), tiny on onnxruntime fp32 \(cpu\), "
        r"512x512, batch 1, 20 steps, the bundle's scheduler, guidance 7.5",
        str(slowed[0]),
    )


def test_other_machines_and_bundles_are_told() -> None:
    other = record(1.001)
    processor = dataclasses.replace(other.environment.processor, cores=4)
    moved = dataclasses.replace(
        other,
        environment=dataclasses.replace(other.environment, processor=processor),
        subject=dataclasses.replace(other.subject, bundle_sha256="1" * 64),
    )
    (found, _) = compare_versions([record()], [moved], 0.05)
    assert found.doubts == ("the machines differ", "the bundles differ")


def test_the_command_fails_where_something_is_slower(
    cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, slower in (("old", 1.0), ("equal", 1.001), ("slow", 1.3)):
        write_record(record(slower), tmp_path / name / "record.json")
    (tmp_path / "old" / "other.json").write_text(json.dumps({"kind": "something else"}))
    old = ["--against", tmp_path / "old", "--fail-if-slower", "5%"]
    assert cli("bench", "report", tmp_path / "equal", *old) == 0
    assert "not slower: " in capsys.readouterr().out
    assert cli("bench", "report", tmp_path / "slow", *old, "-o", tmp_path / "page") == 1
    assert "\nslower: +" in capsys.readouterr().out
    assert '<td class="slower">slower</td>' in (tmp_path / "page" / "report.html").read_text()
    assert {path.suffix for path in (tmp_path / "page").iterdir()} == {".html", ".png"}


def test_what_makes_no_sense_is_refused(
    cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_record(record(), tmp_path / "record.json")
    assert cli("bench", "report", tmp_path, "--fail-if-slower", "5%") == 2
    assert "--fail-if-slower needs --against: slower than what?" in capsys.readouterr().err
    assert cli("bench", "report", tmp_path, "--fail-if-slower", "much") == 2
    assert "'much' is no percentage, such as 5%." in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BenchError) as caught:
        read_all(empty)
    assert str(caught.value) == (
        f"There is no record of a measurement in {empty}. "
        f"`sdopt bench BUNDLE --json {empty}/NAME.json` writes one."
    )


def test_files_of_other_scripts_are_left_alone(tmp_path: Path) -> None:
    write_record(record(), tmp_path / "record.json")
    (tmp_path / "other.json").write_text('{"what": "an export"}')
    assert [found.path.name for found in read_all(tmp_path)] == ["record.json"]


@pytest.mark.browser
def test_the_page_in_a_browser(reported: Path, tmp_path: Path) -> None:
    """Every plot is shown, and nothing is wider than the window."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto((reported / "report.html").as_uri())
        widths = page.eval_on_selector_all("img", "all => all.map(each => each.naturalWidth)")
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.screenshot(path=reported / "page.png", full_page=True)
        browser.close()
    assert len(widths) == len(PLOTS)
    assert min(widths) > 500
    assert wide <= 1100
