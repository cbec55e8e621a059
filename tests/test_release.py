"""Released weights score as they did, and nothing is trained from them."""

import pytest
from conftest import tiny

from jaxcifar import evaluate, release, train
from jaxcifar.errors import UserError


def test_released_weights_score_as_they_did_and_are_small(small_data, run, tmp_path):
    config = tiny(**{"optimizer.ema_decay": 0.9, "data.dir": "/somewhere/private"})
    result = train.train(config, tmp_path / "run")
    words = [f"--checkpoint={tmp_path / 'run'}", f"--out={tmp_path / 'kept'}"]
    status, out, err = run(release.main, words)
    assert (status, err) == (0, "")
    assert f"| test accuracy | {result.lines[-1]['test_accuracy']:.4f} |" in out
    assert out == (tmp_path / "kept" / "README.md").read_text()
    texts = [f.read_bytes() for f in (tmp_path / "kept").rglob("*") if f.is_file()]
    assert not any(b"private" in text for text in texts)
    before, after = (evaluate.evaluate(tmp_path / name, "best", "test") for name in ("run", "kept"))
    assert after | {"checkpoint": "", "step": 0} == before | {"checkpoint": "", "step": 0}
    assert not list((tmp_path / "kept" / "steps").glob("*/train"))
    status, _, err = run(release.main, words)
    assert status == 2
    assert "exists" in err
    with pytest.raises(UserError, match="was released, without what training goes on from"):
        train.train(config, tmp_path / "kept")
    assert not (tmp_path / "kept" / "damaged").exists()
