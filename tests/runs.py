"""Small training runs: recipes, logs and weights that tests compare."""

from safetensors.torch import load_file
from torch.testing import assert_close

from training.trainer.metric_logger import read_log

LANGUAGE = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
LANGUAGE |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}


def turns(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def curve(output):
    """The log of a run without its speed, which is never the same twice."""
    rows = read_log(output.with_name(output.name + ".run") / "loss.csv")
    return [{key: row[key] for key in row if key != "records_per_second"} for row in rows]


def same_weights(first, second, tolerance=0.0):
    first, second = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert_close(second[name], tensor, rtol=0, atol=tolerance, msg=name)
