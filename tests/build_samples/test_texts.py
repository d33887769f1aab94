"""Encoders and their sections: what a vector tells, and what is refused before anything is read."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from reweight.build_samples import texts
from reweight.build_samples.encoders import encoder_of, wordllama
from reweight.build_samples.encoders.base import Encode, projection
from reweight.build_samples.features import Features, feature_names
from reweight.build_samples.texts import EncodedText, check_encoders
from reweight.core.errors import ConfigError, SetupError

HASHED = [0.188325, 0.431357, 0.68294, 0.558622]
SOME = [
    *("red couch", "Red couch!", "crimson sofa", "wireless headphones"),
    *("красное платье", "платье", "红色连衣裙", "连衣裙", "😀", "", "  ", "a\0b"),
]


@pytest.fixture(scope="module", params=["hashed", "wordllama"])
def encode(request: pytest.FixtureRequest) -> Encode:
    encoder = encoder_of(request.param)
    try:
        encoder.check()
    except SetupError:
        pytest.skip("the package wordllama is not installed")
    return encoder.load(64)


def test_a_vector_has_length_1_and_does_not_depend_on_the_batch(encode: Encode) -> None:
    vectors = encode(SOME)
    assert (vectors.shape, vectors.dtype) == ((len(SOME), 64), np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths[:9], 1, atol=1e-6)
    assert lengths[9] == 0
    np.testing.assert_array_equal(np.vstack([encode([text]) for text in SOME]), vectors)
    assert np.linalg.norm(encode(["word " * 800])) == pytest.approx(1)


def test_like_texts_have_like_vectors_in_every_script(encode: Encode) -> None:
    cosines = encode(SOME) @ encode(SOME).T
    assert cosines[0, 1] > 0.6
    assert cosines[0, 1] > cosines[0, 3] + 0.3
    assert cosines[4, 5] > 0.3
    assert cosines[6, 7] > 0.3


def test_hashed_vectors_are_the_same_on_every_machine() -> None:
    vectors = encoder_of("hashed").load(4)(["red couch"])
    np.testing.assert_allclose(vectors, [HASHED], atol=1e-5)


def test_a_projection_keeps_angles_and_the_whole_is_not_projected() -> None:
    x, y = np.eye(500)[:2]
    directions = projection(500, 400)
    assert (x @ directions) @ (y @ directions) == pytest.approx(0, abs=0.2)
    assert (x @ directions) @ (x @ directions) == pytest.approx(1, abs=0.3)
    np.testing.assert_array_equal(projection(3, 3), np.eye(3))


@pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama is not installed")
def test_wordllama_knows_that_a_couch_is_a_sofa_and_asks_nobody() -> None:
    encode = encoder_of("wordllama").load(32)
    cosines = encode(SOME) @ encode(SOME).T
    assert cosines[0, 2] > cosines[0, 3] + 0.2
    # Neither the package's loader nor anything that could download is imported.
    code = (
        "import sys; from reweight.build_samples.encoders import encoder_of; "
        "encoder_of('wordllama').load(8)(['a']); "
        "assert not {'wordllama', 'requests', 'huggingface_hub', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


TITLE = {"value": "title"}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"text": {"t": TITLE | {"encoder": "word2vec"}}}, "write encoder: wordllama"),
        (
            {"text": {"t": TITLE | {"encoder": "intfloat/e5-small"}}},
            "no model is downloaded; got 'intfloat/e5-small'; write encoder: wordllama, or "
            "encoder: /models/e5-small",
        ),
        ({"text": {"t": TITLE | {"encoder": "wordllama", "dim": 300}}}, "write dim: 256"),
        ({"text": {"t": TITLE | {"dim": 2000}}}, "write dim: 1024"),
        ({"text": {"t": TITLE}, "similarity": {"s": ["t", "u"]}}, "write s: [query, title]"),
        ({"text": {"t": TITLE}, "similarity": {"s": ["t", "t"]}}, "expected two names out of"),
        (
            {"text": {"t": TITLE, "u": TITLE}, "similarity": {"s": ["t", "v"]}},
            "write s: [t, u]",
        ),
        (
            {"text": {"t": TITLE, "u": TITLE | {"dim": 8}}, "similarity": {"s": ["t", "u"]}},
            "write encoder: hashed and dim: 32 in text.u",
        ),
        ({"text": {"t": TITLE | {"in_features": False}}}, "since no `similarity` compares it"),
        ({"text": {"t": TITLE | {"dim": 2}}, "numeric": {"t_1": "1"}}, "got twice: ['t_1']"),
        ({"text": {"t": TITLE}, "numeric": {"t": "1"}}, "got twice: ['t_missing']"),
        ({"text": {"t": TITLE, "T": TITLE | {"dim": 3}}}, "got twice: ['T_0', 'T_1',"),
    ],
)
def test_a_section_that_cannot_work_is_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Features.model_validate(section)
    assert said in str(caught.value)


def test_the_names_of_the_features_of_texts() -> None:
    text = {
        "query": EncodedText(value="q", dim=3, in_features=False),
        "title": EncodedText(value="t", dim=3),
    }
    features = Features(numeric={"x": "x"}, text=text, similarity={"like": ("query", "title")})
    numbers = ("x", "like", "title_0", "title_1", "title_2")
    assert feature_names(features, {}) == (*numbers, "x_missing", "like_missing", "title_missing")


def test_packages_and_folders_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(encoder: str, dim: int = 8) -> ConfigError | SetupError:
        with pytest.raises((ConfigError, SetupError)) as caught:
            check_encoders({"title": EncodedText(value="t", encoder=encoder, dim=dim)})
        return caught.value

    folder = tmp_path / "model"
    assert refused(str(folder)).got == "missing: no such folder"
    folder.mkdir()
    assert refused(str(folder)).got == "missing: config.json"
    (folder / "config.json").write_text("[]")
    assert refused(str(folder)).got == "missing: hidden_size in config.json"
    (folder / "config.json").write_text(json.dumps({"hidden_size": 16}))
    assert refused(str(folder)).got == "missing: *.safetensors"
    (folder / "model.safetensors").write_bytes(b"")
    assert refused(str(folder)).got == "missing: tokenizer*"
    assert str(folder) in refused(str(folder)).expected
    (folder / "tokenizer.json").write_text("{}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refused(str(folder)).fix.startswith('run pip install "reweight[transformers]"')
    monkeypatch.setattr(wordllama, "version", _missing)
    error = refused("wordllama")
    assert error.got == "missing: wordllama, tokenizers"
    assert 'pip install "reweight[wordllama]"' in error.fix
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    error = refused(str(folder), 17)
    assert (error.expected, error.got) == (f"at most 16, as many numbers as {folder} gives", "17")
    assert error.fix == "write dim: 16, or less"
    assert texts.identities({"t": EncodedText(value="t")}) == {"t": "hashed 1, dim 32"}


def _missing(package: str) -> str:
    raise wordllama.PackageNotFoundError(package)


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_a_transformers_model_is_read_from_its_folder(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "couch", "blue", "lamp"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=9, num_hidden_layers=1, max_position_embeddings=32, **sizes)
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "model")
    BertModel(config).save_pretrained(tmp_path / "model")
    encoder = encoder_of(str(tmp_path / "model"))
    encoder.check()
    assert encoder.width == 16
    vectors = encoder.load(16)(["red couch", "a lamp", "red couch " * 500, "red couch"])
    assert vectors.shape == (4, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-5)
    assert encoder.load(4)(["red couch"]).shape == (1, 4)
    identity = encoder.identity()
    moved = encoder_of(str((tmp_path / "model").rename(tmp_path / "moved")))
    assert moved.identity() == identity
    BertModel(config).save_pretrained(tmp_path / "moved")
    assert moved.identity() != identity
