import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import parse_qsl, urlencode
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from conftest import small_settings
from PIL import Image

from alzgan.runs import session

OPENER = build_opener(ProxyHandler({}))


@pytest.fixture(scope="module")
def address(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real TensorBoard on loopback, showing one small run."""
    folder = tmp_path_factory.mktemp("outputs")
    session.run(small_settings(slices, folder / "run", "trainer.max_steps=4"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_loaded(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_until_loaded(address: str) -> None:
    for _ in range(1200):
        try:
            if get(address, "/data/runs") == ["run"] and get(address, "/data/plugin/scalars/tags").get("run"):
                return
        except (URLError, ConnectionError):
            pass
        time.sleep(0.1)
    raise TimeoutError("TensorBoard shows no run after 2 minutes")


def fetch(address: str, path: str, **query: str) -> bytes:
    return OPENER.open(f"{address}{path}?{urlencode(query)}", timeout=30).read()


def get(address: str, path: str, **query: str):
    return json.loads(fetch(address, path, **query))


def test_losses_probabilities_speed_and_quality_are_separate_tags(address: str):
    assert set(get(address, "/data/plugin/scalars/tags")["run"]) >= {
        "loss/discriminator",
        "loss/generator",
        "probability/D(x)",
        "probability/D(G(z))_before_D_step",
        "probability/D(G(z))_after_D_step",
        "speed/images_per_second",
        "quality/frechet_random_conv",
    }


def test_scalars_are_plotted_over_steps(address: str):
    points = get(address, "/data/plugin/scalars/scalars", run="run", tag="loss/generator")
    assert [step for _, step, _ in points] == [2, 4]
    assert all(0 < value < 10 for _, _, value in points)


def test_the_sample_grid_is_a_picture(address: str):
    images = get(address, "/data/plugin/images/images", run="run", tag="samples/grid", sample="0")
    assert [image["step"] for image in images] == [0, 4]
    query = dict(parse_qsl(images[-1]["query"]))
    picture = Image.open(io.BytesIO(fetch(address, "/data/plugin/images/individualImage", **query)))
    assert (picture.format, picture.size) == ("PNG", (138, 138))


def test_the_config_is_a_text(address: str):
    (event,) = get(address, "/data/plugin/text/text", run="run", tag="config/text_summary")
    assert "latent_dim: 100" in event["text"]


def post(address: str, path: str, **body):
    request = Request(f"{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(OPENER.open(request, timeout=30).read())


def test_a_run_is_a_row_of_the_hyper_parameters_tab(address: str):
    experiment = post(address, "/data/plugin/hparams/experiment", experimentName="")
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert {"model/generator_optimizer/lr", "data/batch_size", "seed"} <= names
    (group,) = post(
        address,
        "/data/plugin/hparams/session_groups",
        allowedStatuses=["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_UNKNOWN"],
        colParams=[{"metric": {"group": "", "tag": "objective/best"}}],
        startIndex=0,
        sliceSize=10,
    )["sessionGroups"]
    assert group["hparams"]["model/generator_optimizer/lr"] == 2e-4
    assert group["metricValues"][0]["value"] > 0
