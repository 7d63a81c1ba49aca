"""The launcher file that `ray up` takes, by Ray's own validator."""

from pathlib import Path

import pytest
import yaml

LAUNCHER = Path(__file__).parents[2] / "ray_cluster.yaml"


def validate(config: dict[str, object]) -> None:
    # The functions that `ray up` itself calls; private, so this test also says when they move.
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


def test_ray_takes_the_launcher_file() -> None:
    config = yaml.safe_load(LAUNCHER.read_text())
    validate(config)
    types = config["available_node_types"]
    assert types["render"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["tokenize"]["resources"]["GPU"] > 0
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("key", ["max_wrokers", "head_node_typ"])
def test_the_validator_would_see_a_wrong_key(key: str) -> None:
    with pytest.raises(Exception, match=key):  # Ray's own, of several kinds
        validate({**yaml.safe_load(LAUNCHER.read_text()), key: 1})
