"""Models of Hugging Face's transformers, made from their configurations: products and parameters by hand."""

import pytest

torch = pytest.importorskip("torch", reason="tracing needs the torch extra")
transformers = pytest.importorskip("transformers", reason="needs Hugging Face's transformers")

from accelsim.workload.trace import Linear, Matmul  # noqa: E402
from accelsim.workload.tracer import InputSpec, trace, trace_model  # noqa: E402

BATCH, TOKENS, WIDTH, HIDDEN, DEPTH, HEADS, WORDS = 3, 16, 64, 128, 2, 4, 100
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "intermediate_size": HIDDEN}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gpt2():
    config = transformers.GPT2Config(n_layer=DEPTH, n_embd=WIDTH, n_head=HEADS, n_inner=HIDDEN, vocab_size=WORDS)
    return transformers.GPT2LMHeadModel(config)


def bert():
    return transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, vocab_size=WORDS))


def vit():
    config = transformers.ViTConfig(**SIZES, image_size=32, patch_size=8, num_labels=10)
    return transformers.ViTForImageClassification(config)


def llama():
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, vocab_size=WORDS)
    return transformers.LlamaForCausalLM(config)


def encoder(tokens, *, projections=4 * WIDTH * WIDTH, mlp=2 * WIDTH * HIDDEN):
    return DEPTH * (tokens * (projections + mlp) + 2 * tokens * tokens * WIDTH)


PATCHES = (32 // 8) ** 2
MODELS = {
    "gpt2": (gpt2, f"{TOKENS}:int64:{WORDS}", encoder(TOKENS) + TOKENS * WIDTH * WORDS),
    "bert": (bert, f"{TOKENS}:int64:{WORDS}", encoder(TOKENS) + WIDTH * WIDTH + WIDTH * 2),
    "vit": (vit, "3x32x32", encoder(PATCHES + 1) + PATCHES * 3 * 64 * WIDTH + WIDTH * 10),
    "llama": (
        llama,
        f"{TOKENS}:int64:{WORDS}",
        encoder(TOKENS, projections=3 * WIDTH * WIDTH, mlp=3 * WIDTH * HIDDEN) + TOKENS * WIDTH * WORDS,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_products_by_hand(name):
    make, spec, macs = MODELS[name]
    model = make()
    seen = trace_model(model, [InputSpec.parse(spec)], batch=BATCH)
    assert seen.macs == macs
    assert seen.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert sum(elements for elements, _ in seen.tensors.values()) == seen.parameters
    products = [operation for operation in seen.operations if operation.macs]
    assert sum(isinstance(operation, Matmul) for operation in products) == 2 * DEPTH
    assert all(operation.input_gradient for operation in products[1:])
    for operation in products:
        assert not isinstance(operation, Linear) or operation.weight.name in dict(model.named_parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_real_step_says_the_same(name):
    make, text, _ = MODELS[name]
    model, spec = make(), InputSpec.parse(text)
    shape = (BATCH, *spec.shape)
    x = torch.randint(WORDS, shape) if spec.below else torch.randn(shape)
    expected = trace_model(model, [spec], batch=BATCH).operations
    seen = trace(lambda: model(x).logits.square().mean(), model).operations
    assert [operation.model_copy(update={"observed": None}) if operation.macs else operation
            for operation in seen[: len(expected)]] == list(expected)  # fmt: skip
