"""Reading good GGUF files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import gguf as gguf_package
import pytest

from models_app.domain.catalog import capabilities
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.catalog.gguf import FILE_TYPES, GgufMetadata
from models_app.domain.errors import ModelFileError
from models_app.engines import gguf, gguf_header
from tests.fakes import broken_gguf, gguf_files, hostile_templates
from tests.fakes.broken_gguf import BOOL, I32, STRING, U32, File, array, text, u32


def _inspect(path: Path, data: File | bytes) -> GgufMetadata:
    path.write_bytes(bytes(data))
    return gguf.inspect(path, roots=[path.parent])


def test_a_scan_stores_a_template_and_never_renders_it(tmp_path: Path) -> None:
    """Whatever it does: a scan has no more time for one than for another."""
    for name, template in (hostile_templates.HOSTILE | hostile_templates.UNCOMPILABLE).items():
        if len(template) <= gguf_header.MAX_TEMPLATE_BYTES:
            file = File().set("tokenizer.chat_template", STRING, text(template))
            assert _inspect(tmp_path / f"{name}.gguf", file).chat_template == template


def test_it_reads_a_model_that_llama_cpp_loads(tmp_path: Path) -> None:
    path = gguf_files.write_tiny_gguf(tmp_path / "tiny.gguf", name="Tiny", context=1024)
    metadata = gguf.inspect(path, roots=[tmp_path])
    assert metadata.architecture == "llama"
    assert metadata.name == "Tiny"
    assert metadata.quantization == "F32"
    assert metadata.context_length == 1024
    assert metadata.block_count == 1
    assert metadata.tokenizer == "llama"
    assert metadata.pooling_type == 1
    assert metadata.causal
    assert metadata.size_bytes == metadata.total_bytes == path.stat().st_size
    assert metadata.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert metadata.chat_template == gguf_files.CHATML_WITH_TOOLS
    digest = hashlib.sha256(gguf_files.CHATML_WITH_TOOLS.encode()).hexdigest()
    assert metadata.template_digest == digest


def test_it_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    path = gguf_files.write_random_gguf(tmp_path / "r.gguf", megabytes=3, layers=2, embedding=64, heads=4)
    reader = gguf_package.GGUFReader(path)
    metadata = gguf.inspect(path, roots=[tmp_path], digest=False)
    assert metadata.parameter_count == sum(int(tensor.n_elements) for tensor in reader.tensors)
    assert metadata.vocab_size == len(reader.fields["tokenizer.ggml.tokens"].data)
    assert metadata.quantization == "F16"
    assert metadata.sha256 == ""


def test_the_tables_of_types_are_those_of_the_gguf_package() -> None:
    sizes = {int(kind): (kind.name, *gguf_package.GGML_QUANT_SIZES[kind]) for kind in gguf_package.GGMLQuantizationType}
    assert sizes == gguf_header.TENSOR_TYPES
    names = {
        int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for kind in gguf_package.LlamaFileType
        if kind.name != "GUESSED"
    }
    assert names == FILE_TYPES


def test_what_the_header_leaves_out_gets_llama_cpps_defaults(tmp_path: Path) -> None:
    metadata = _inspect(tmp_path / "m.gguf", File())
    assert metadata.head_count_kv == metadata.head_count == 2
    assert metadata.key_length == metadata.value_length == 4
    assert metadata.pooling_type is None
    assert metadata.causal
    assert metadata.chat_template is None
    assert metadata.template_digest is None
    assert not metadata.has_fill_in_middle


def test_version_2_reads_like_version_3(tmp_path: Path) -> None:
    assert _inspect(tmp_path / "m.gguf", File(version=u32(2))).name == "whole"


def test_an_encoder_is_not_causal_and_embeds(tmp_path: Path) -> None:
    file = File().set("general.architecture", STRING, text("bert"))
    for name in ("context_length", "embedding_length", "block_count"):
        file.without(f"llama.{name}").set(f"bert.{name}", U32, u32(8))
    file.set("bert.pooling_type", U32, u32(2))
    metadata = _inspect(tmp_path / "m.gguf", file)
    found = capabilities.infer_from_gguf(
        architecture=metadata.architecture,
        pooling_type=metadata.pooling_type,
        causal=metadata.causal,
        chat_template=metadata.chat_template,
        has_fill_in_middle=metadata.has_fill_in_middle,
    )
    assert found == [Capability.EMBEDDINGS]


def test_the_header_decides_whether_a_model_is_causal(tmp_path: Path) -> None:
    file = File().set("llama.attention.causal", BOOL, b"\0")
    assert not _inspect(tmp_path / "m.gguf", file).causal


def test_of_per_layer_lists_the_largest_counts(tmp_path: Path) -> None:
    heads = array(I32, [u32(2), u32(4), u32(1)])
    file = File().set("llama.attention.head_count_kv", broken_gguf.ARRAY, heads)
    assert _inspect(tmp_path / "m.gguf", file).head_count_kv == 4


def test_a_fill_in_middle_token_shows_in_the_vocabulary(tmp_path: Path) -> None:
    tokens = [text(token) for token in ("<|fim_prefix|>", "b", "c", "d")]
    file = File().set("tokenizer.ggml.tokens", broken_gguf.ARRAY, array(STRING, tokens))
    assert _inspect(tmp_path / "m.gguf", file).has_fill_in_middle


def test_names_lose_what_a_database_cannot_store(tmp_path: Path) -> None:
    file = File().set("general.name", STRING, text(b"a\0b\x1b[31m\xff\n" + b"x" * 900))
    name = _inspect(tmp_path / "m.gguf", file).name
    assert name.isprintable()
    assert len(name) <= 200
    assert name.startswith("a b")


@pytest.mark.parametrize(("file_type", "expected"), [(15, "Q4_K_M"), (1024 + 7, "Q8_0"), (4000, "F32")])
def test_the_quantization_is_the_file_type_or_the_type_of_most_weights(
    tmp_path: Path, file_type: int, expected: str
) -> None:
    file = File().set("general.file_type", U32, u32(file_type))
    assert _inspect(tmp_path / "m.gguf", file).quantization == expected


def test_metadata_survives_json(tmp_path: Path) -> None:
    metadata = _inspect(tmp_path / "m.gguf", File())
    stored = json.loads(json.dumps(metadata.to_dict()))
    assert GgufMetadata.from_dict({**stored, "from_a_later_version": 1}) == metadata


def test_the_shape_carries_what_the_memory_estimate_needs(tmp_path: Path) -> None:
    file = File().set("llama.feed_forward_length", U32, u32(16))
    metadata = _inspect(tmp_path / "m.gguf", file)
    assert dataclasses.asdict(metadata.shape()) == {
        "file_bytes": metadata.size_bytes,
        "block_count": 1,
        "embedding_length": 8,
        "head_count": 2,
        "head_count_kv": 2,
        "key_length": 4,
        "value_length": 4,
        "vocab_size": 4,
        "feed_forward_length": 16,
        "causal": True,
    }


def test_a_model_in_parts_is_counted_whole(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    second = tmp_path / "m-00002-of-00002.gguf"
    # Further parts carry tensors and no description of the model.
    second.write_bytes(bytes(File(fields={})))
    metadata = _inspect(first, File().set("split.count", U32, u32(2)))
    assert metadata.parts == 2
    assert metadata.size_bytes == first.stat().st_size
    assert metadata.total_bytes == first.stat().st_size + second.stat().st_size
    assert metadata.parameter_count == 64


def test_a_model_whose_part_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="'m-00002-of-00002.gguf' is missing"):
        _inspect(tmp_path / "m-00001-of-00002.gguf", File().set("split.count", U32, u32(2)))


def test_the_order_of_the_fields_does_not_matter(tmp_path: Path) -> None:
    file = File()
    file.fields = dict(reversed(file.fields.items()))
    assert _inspect(tmp_path / "m.gguf", file).context_length == 512


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("general.type", "adapter", "an adapter"),
        ("general.type", "imatrix", "an importance matrix"),
        ("general.type", "vocab", "a vocabulary"),
        ("general.architecture", "controlvector", "a control vector"),
        ("general.architecture", "flux", "generates images"),
        ("general.architecture", "clip", "a projector"),
        ("general.architecture", "mmproj", "a projector"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_what_it_is(tmp_path: Path, key: str, value: str, words: str) -> None:
    """Whatever its name is, and also with all that describes a model."""
    with pytest.raises(ModelFileError, match=words):
        _inspect(tmp_path / "looks-like-a-model.gguf", File().set(key, STRING, text(value)))


def test_an_importance_matrix_that_names_no_architecture_is_called_one(tmp_path: Path) -> None:
    file = File().without("general.architecture").set("general.type", STRING, text("imatrix"))
    with pytest.raises(ModelFileError, match="an importance matrix"):
        _inspect(tmp_path / "imatrix.gguf", file)


def test_a_vocabulary_without_weights_is_refused(tmp_path: Path) -> None:
    template = File(tensors=[]).set("tokenizer.chat_template", STRING, text("{{ messages }}"))
    with pytest.raises(ModelFileError, match="without weights"):
        _inspect(tmp_path / "vocabulary.gguf", template)


def test_the_first_part_of_a_model_can_have_no_weights(tmp_path: Path) -> None:
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(bytes(File(fields={})))
    whole = _inspect(tmp_path / "m-00001-of-00002.gguf", File(tensors=[]).set("split.count", U32, u32(2)))
    assert whole.parameter_count == 32


def test_a_link_into_a_cache_of_blobs_is_read_with_its_parts(tmp_path: Path) -> None:
    """As the cache of huggingface_hub has it: names in a snapshot lead to files that are named by their digests."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    contents = (File().set("split.count", U32, u32(2)), File(fields={}))
    for number, file in enumerate(contents, 1):
        (blobs / f"{number:064x}").write_bytes(bytes(file))
        (snapshot / f"m-0000{number}-of-00002.gguf").symlink_to(f"../../blobs/{number:064x}")
    found = gguf.inspect(snapshot / "m-00001-of-00002.gguf", roots=[tmp_path])
    assert (found.parts, found.parameter_count) == (2, 64)
