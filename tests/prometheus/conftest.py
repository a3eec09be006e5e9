"""The scene, once for all tests here."""
import pytest

from scene import Scene


@pytest.fixture(scope="session")
def scene():
    with Scene() as running:
        yield running
