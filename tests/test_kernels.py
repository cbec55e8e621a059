"""The kernels and launches of compiled programs, against counts by hand on short excerpts."""

import importlib
import json
import types

import pytest
from conftest import ROOT

# An epoch in the form of XLA's text for a GPU. Its step gathers a batch, convolves it, computes the
# kernel's gradient, multiplies, sums, converts, copies, draws random bits and updates.
PROGRAM = """
HloModule jit__steps, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum.1 = f32[] add(%a, %b)
}

%fused_gather (p0: u8[50000,8,8,4], p1: s32[50000], p2: s32[]) -> bf16[16,8,8,4] {
  %p0 = u8[50000,8,8,4]{3,2,1,0} parameter(0)
  %p1 = s32[50000]{0} parameter(1)
  %p2 = s32[] parameter(2)
  %ds.1 = s32[16]{0} dynamic-slice(%p1, %p2), dynamic_slice_sizes={16}
  %view.1 = s32[16,1]{1,0} bitcast(%ds.1)
  %gather.1 = u8[16,8,8,4]{3,2,1,0} gather(%p0, %view.1), offset_dims={1,2,3}
  ROOT %convert.1 = bf16[16,8,8,4]{3,2,1,0} convert(%gather.1)
}

%fused_dot (p3: bf16[16,512], p4: bf16[512,10]) -> f32[16,10] {
  %p3 = bf16[16,512]{1,0} parameter(0)
  %p4 = bf16[512,10]{1,0} parameter(1)
  ROOT %dot.1 = f32[16,10]{1,0} dot(%p3, %p4), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%fused_reduce (p5: f32[16,10]) -> f32[10] {
  %p5 = f32[16,10]{1,0} parameter(0)
  %zero = f32[] constant(0)
  ROOT %reduce.1 = f32[10]{0} reduce(%p5, %zero), dimensions={0}, to_apply=%add
}

%fused_update (p6: f32[8,3,3,4], p7: bf16[8,3,3,4]) -> (f32[8,3,3,4], bf16[8,3,3,4]) {
  %p6 = f32[8,3,3,4]{3,2,1,0} parameter(0)
  %p7 = bf16[8,3,3,4]{3,2,1,0} parameter(1)
  %convert.2 = f32[8,3,3,4]{3,2,1,0} convert(%p7)
  %subtract.1 = f32[8,3,3,4]{3,2,1,0} subtract(%p6, %convert.2)
  %convert.3 = bf16[8,3,3,4]{3,2,1,0} convert(%subtract.1)
  ROOT %both = (f32[8,3,3,4]{3,2,1,0}, bf16[8,3,3,4]{3,2,1,0}) tuple(%subtract.1, %convert.3)
}

%fused_bits (p8: u32[2]) -> u32[2] {
  %p8 = u32[2]{0} parameter(0)
  ROOT %xor.1 = u32[2]{0} xor(%p8, %p8), metadata={op_name="jit(_threefry_split)/xor"}
}

%fused_put (p9: f32[390,10], p10: f32[10], p11: s32[]) -> f32[390,10] {
  %p9 = f32[390,10]{1,0} parameter(0)
  %p10 = f32[10]{0} parameter(1)
  %p11 = s32[] parameter(2)
  %row = f32[1,10]{1,0} bitcast(%p10)
  ROOT %put.1 = f32[390,10]{1,0} dynamic-update-slice(%p9, %row, %p11)
}

%body (t: (s32[], f32[8,3,3,4], f32[390,10], u8[50000,8,8,4], s32[50000], /*index=5*/u32[2])) -> () {
  %t = (s32[], f32[8,3,3,4]{3,2,1,0}, f32[390,10]{1,0}, u8[50000,8,8,4]{3,2,1,0}, s32[50000]{0}, /*index=5*/u32[2]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %kernel = f32[8,3,3,4]{3,2,1,0} get-tuple-element(%t), index=1
  %rows = f32[390,10]{1,0} get-tuple-element(%t), index=2
  %images = u8[50000,8,8,4]{3,2,1,0} get-tuple-element(%t), index=3
  %order = s32[50000]{0} get-tuple-element(%t), index=4
  %key = u32[2]{0} get-tuple-element(%t), index=5
  %x = bf16[16,8,8,4]{3,2,1,0} fusion(%images, %order, %i), kind=kLoop, calls=%fused_gather
  %half = bf16[8,3,3,4]{3,2,1,0} convert(%kernel), metadata={op_name="jvp(Net)/conv0/convert"}
  %conv.1 = (bf16[16,8,8,8]{3,2,1,0}, u8[0]{0}) custom-call(%x, %half), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  %y = bf16[16,8,8,8]{3,2,1,0} get-tuple-element(%conv.1), index=0
  %conv.2 = (bf16[8,3,3,4]{3,2,1,0}, u8[0]{0}) custom-call(%x, %y), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  %g = bf16[8,3,3,4]{3,2,1,0} get-tuple-element(%conv.2), index=0
  %flat = bf16[16,512]{1,0} bitcast(%y)
  %dense = bf16[512,10]{1,0} constant({...})
  %logits = f32[16,10]{1,0} fusion(%flat, %dense), kind=kCustom, calls=%fused_dot
  %sums = f32[10]{0} fusion(%logits), kind=kInput, calls=%fused_reduce
  %copy.1 = f32[10]{0} copy(%sums)
  %all = f32[390,10]{1,0} fusion(%rows, %copy.1, %i), kind=kLoop, calls=%fused_put
  %bits = u32[2]{0} fusion(%key), kind=kLoop, calls=%fused_bits
  %update = (f32[8,3,3,4]{3,2,1,0}, bf16[8,3,3,4]{3,2,1,0}) fusion(%kernel, %g), kind=kLoop, calls=%fused_update, metadata={op_name="while/body/closed_call/optimizer/sub"}
  ROOT %out = () tuple()
}

ENTRY %main (a0: f32[10]) -> f32[10] {
  %a0 = f32[10]{0} parameter(0)
  %before = f32[10]{0} copy(%a0)
  %while.1 = () while(%before), condition=%cond, body=%body
  ROOT %after = f32[10]{0} copy(%before)
}
"""  # noqa: E501 -- XLA's lines
PRODUCTS = 2 * 16 * 8 * 8 * 3 * 3 * 4 * 8  # of the convolution; its gradient has as many
IMAGES, MAPS, KERNEL = 16 * 8 * 8 * 4, 16 * 8 * 8 * 8, 8 * 3 * 3 * 4  # elements
# Each kernel's kind, bytes read, bytes written, product operations and other operations.
WANTED = {
    "x": ("elementwise", IMAGES + 16 * 4 + 4, 2 * IMAGES, 0, IMAGES),
    "half": ("elementwise", 4 * KERNEL, 2 * KERNEL, 0, KERNEL),
    "conv.1": ("convolution", 2 * (IMAGES + KERNEL), 2 * MAPS, PRODUCTS, 0),
    "conv.2": ("convolution", 2 * (IMAGES + MAPS), 2 * KERNEL, PRODUCTS, 0),
    "logits": ("matrix product", 2 * (MAPS + 5120), 4 * 160, 2 * 16 * 512 * 10, 0),
    "sums": ("reduction", 4 * 160, 4 * 10, 0, 160),
    "copy.1": ("copy or transpose", 40, 40, 0, 0),
    "all": ("copy or transpose", 40 + 4, 40, 0, 0),  # one row, written in place
    "bits": ("random", 8, 8, 0, 2),
    "update": ("optimizer", 6 * KERNEL, 6 * KERNEL, 0, 3 * KERNEL),
}
THUNKS = """\
000: kCommandBuffer [source       | next=002 (1)]
    001: kCopy         [source | sink] kCopy
002: kWhile         [prev=000 (1) | sink        ]
condition:
    003: kCustomKernel [source | sink] loop_compare_fusion
  body:
    000: kCommandBuffer [source       | next=006 (1)]
        004: kCustomKernel [source       | next=005 (1)] loop_convert_fusion
        005: kCustomKernel [prev=004 (1) | sink        ] wrapped_convert
    006: kConvolution   [prev=000 (1) | next=007 (1)] kConvolution
    007: kCustomKernel  [prev=006 (1) | sink        ] input_reduce_fusion
008: kCopy [source | sink] kCopy
"""


@pytest.fixture
def module(monkeypatch):
    """Imports a module of benchmarks/, which is on the path only while one of its scripts runs."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_the_kernels_of_a_step_equal_the_count_by_hand(module):
    found = module("kernels").step_kernels(PROGRAM)
    counted = {k.name: (k.kind, k.read, k.written, k.products, k.others) for k in found}
    assert counted == WANTED
    assert {k.dtype for k in found if k.products} == {"bf16"}


@pytest.mark.parametrize(
    ("which", "out", "operands"),
    [
        ("Forward", "f32[16,4,4,8]", "%x, %kernel"),
        ("BackwardInput", "f32[16,8,8,4]", "%y, %kernel"),
        ("BackwardFilter", "f32[8,3,3,4]", "%x, %y"),
    ],
)
def test_strided_gradients_count_the_same_as_their_convolution(module, which, out, operands):
    text = f"""
ENTRY %main (x: f32[16,8,8,4], kernel: f32[8,3,3,4], y: f32[16,4,4,8]) -> {out} {{
  %x = f32[16,8,8,4] parameter(0)
  %kernel = f32[8,3,3,4] parameter(1)
  %y = f32[16,4,4,8] parameter(2)
  ROOT %c = {out} custom-call({operands}), window={{size=3x3 pad=1_1x1_1 stride=2x2}}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$conv{which}"
}}
"""
    (kernel,) = module("kernels").step_kernels(text)
    assert (kernel.kind, kernel.products) == ("convolution", 2 * 16 * 4 * 4 * 9 * 4 * 8)


def test_only_the_launches_in_the_loops_body_count(module):
    kernels = module("kernels")
    assert kernels.count_launches(THUNKS) == kernels.Launches(single=2, buffers=1, inside=2)
    assert kernels.count_launches(THUNKS.replace("kWhile", "kOther")).inside == 3


def test_the_bound_adds_launches_to_the_larger_of_bytes_and_operations(module):
    programs, kernels = module("gpu_program"), module("kernels")
    peaks = programs.Device(bandwidth=1e6, products={"bf16": 4e6}, others=2e6)
    slow = kernels.Kernel("a", "convolution", "", 10, 20, 400, "bf16", 0)  # 100 µs by operations
    wide = kernels.Kernel("b", "elementwise", "", 30, 20, 0, "", 40)  # 50 µs by bytes
    found = programs.describe_step([slow, wide], kernels.Launches(1, 1, 1), peaks)
    assert found["working_ms"] == pytest.approx(0.150)
    assert found["bound_ms"] == pytest.approx(0.150 + 2 * 0.003 + 0.001)
    assert found["heaviest"][0]["name"] == "a"


def test_the_targets_peaks_agree_with_the_data_sheet(module):
    """NVIDIA H200: 4.8 TB/s, 989 and 495 Top/s at 1.83 GHz; the target's clock is 1.98 GHz."""
    peaks = module("gpu_program").read_device((ROOT / "benchmarks" / "h200.txtpb").read_text())
    assert peaks.bandwidth == 4.8e12
    assert peaks.products["bf16"] == pytest.approx(989e12 * 1.98 / 1.83, rel=0.01)
    assert peaks.products["f32"] == pytest.approx(495e12 * 1.98 / 1.83, rel=0.01)


def test_without_a_gpu_compiler_the_error_says_how_to_get_one(module, monkeypatch):
    programs = module("gpu_program")
    monkeypatch.setattr(programs, "is_importable", lambda name: False)
    with pytest.raises(programs.UserError, match="pip download --no-deps jax-cuda12-pjrt=="):
        programs.make_target_mesh("")


@pytest.mark.parametrize("cuda", ["xla_cuda12", "xla_cuda13"])
def test_the_compiler_of_either_cuda_version_works(module, monkeypatch, cuda):
    programs = module("gpu_program")
    monkeypatch.setattr(programs, "is_importable", lambda name: name == f"jax_plugins.{cuda}")
    monkeypatch.setattr(
        programs.topologies,
        "get_topology_desc",
        lambda **_: types.SimpleNamespace(devices=programs.jax.devices()[:1]),
    )
    assert programs.make_target_mesh("").size == 1


def test_the_readme_contains_the_table_of_the_record(module):
    programs = module("gpu_program")
    record = json.loads(programs.OUT.read_text())
    assert programs.programs_table(record) in (ROOT / "benchmarks" / "README.md").read_text()
