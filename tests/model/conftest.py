"""Files of the sample networks."""

from __future__ import annotations

import pytest
from judges.network_files import SAMPLES

from eventsim.model import netfile


@pytest.fixture(scope="module")
def sample_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("samples")
    for name, make in SAMPLES.items():
        netfile.save(make(), folder / name)
    return {name: (folder / name).read_bytes() for name in SAMPLES}
