"""Any vision-language model behind an OpenAI-compatible endpoint as a peer: the same questions, parsed as strictly."""

from depictqa_core import tasks
from depictqa_core.chat.client import Client
from depictqa_core.chat.messages import image_part
from depictqa_core.prompts import REFERENCE, SYSTEM, SYSTEM_REFERENCE, A, B

from ..dataset.records.image_paths import read_image
from ..trainer.record_files import picture_paths
from .answer_files import Source, endpoint_answers
from .sets import DETAILED, TestSet

SHORT_TOKENS, LONG_TOKENS = 32, 400


def vlm_answers(client: Client, test_set: TestSet) -> Source:
    """Answers with id, text and no confidence, at temperature 0.

    Questions of a task with a closed set of answers end in the list of them, which our own models learn in training;
    what comes back must be one of them to the letter, apart from spaces around it. Other short questions are asked as
    they are.
    """

    def answer(index: int) -> dict:
        record, task_type = test_set.records[index], test_set.task_types[index]
        detailed = tasks.task_of(record["query"], tasks.setting(task_type).pair) in DETAILED
        reply = client.complete(messages(test_set, record, task_type), LONG_TOKENS if detailed else SHORT_TOKENS)
        return {"text": reply.text, "confidence": None}

    return endpoint_answers(client, test_set.ids, answer)


def messages(test_set: TestSet, record: dict, task_type: str) -> list[dict]:
    """The conversation that asks one record's question."""
    setting = tasks.setting(task_type)
    titles = {REFERENCE: "Reference Image:", A: "Image A:" if setting.pair else "Image:", B: "Image B:"}
    content = []
    for role, path in picture_paths(record, task_type).items():
        content += [{"type": "text", "text": titles[role]}, image_part(read_image(test_set.root, path))]
    content.append({"type": "text", "text": record["query"] + _choices(record["query"], setting.pair)})
    system = SYSTEM + (SYSTEM_REFERENCE if setting.reference else "")
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def _choices(query: str, pair: bool) -> str:
    """The answers that a question allows, where that is a closed set which the question does not list itself."""
    task = tasks.task_of(query, pair)
    if not task.brief or task.name == tasks.QUESTION.name:  # such a question says itself which answers it has
        return ""
    if task is not tasks.IDENTIFICATION:
        return f" Answer with exactly one of: {', '.join(tasks.answers(task, query))}."
    count = tasks.issue_count(query)
    two = "two of these joined by ' and ', only the first letter upper case" if count != 1 else ""
    one = "exactly one of these" if count != 2 else "None"
    ways = " or with ".join(filter(None, (one, two)))
    return f" Answer with {ways}: {', '.join(tasks.identification_answers(1))}."
