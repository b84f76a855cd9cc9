"""Convert full-reference records to no-reference ones: remove the reference and every mention of it (method.md 6.3)."""

import re

_REFERENCE = r"(?:the|a|its)\s+(?:[\w-]+\s+){0,2}?reference(?:\s+(?:image|picture|photo))?\b(?:'s)?"
_COMPARED = (
    r"(?:(?:when|as|if|especially)\s+)?"
    r"(?:(?:compared|contrasted)\s+(?:to|with|against)|in\s+(?:comparison|contrast)\s+(?:to|with)|relative\s+to"
    r"|with\s+respect\s+to)"
)
_BESIDE = (
    rf"(?:{_COMPARED}|next\s+to|against|unlike|like|as\s+in)"  # these cut a sentence only at its start or at commas
)
_START = r"(?:^|(?<=[.!?]\s))"
# pattern -> replacement, in this order; what begins a sentence leaves a letter that is made a capital at the end
_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (rf"{_START}{_BESIDE}\s+{_REFERENCE}\s*,?\s*", ""),
        (rf",\s*{_BESIDE}\s+{_REFERENCE}\s*(?:,|(?=[.;!?]))", ""),
        (rf",?\s*\b{_COMPARED}\s+{_REFERENCE}", ""),
        (rf"\s*\b(?:than|to)\s+(?:(?:that|those|the\s+one|what\s+is\s+seen)\s+)?(?:in|of|from)\s+{_REFERENCE}", ""),
        (rf"\s*\b(?:than|in|of|from)\s+{_REFERENCE}", ""),
        (rf"{_START}The\s+reference\s+image\b", "The image"),
        (_REFERENCE, "a high-quality image"),
        (r"\s+([,.;!?])", r"\1"),
        (r"\s{2,}", " "),
    )
)


def without_reference(text: str) -> str | None:
    """An answer without the reference; None if a mention is left that cannot be taken out.

    Comparing phrases are cut ("compared to the reference", "than in the reference image", "Unlike the reference, ..."),
    a sentence that begins with "The reference image" speaks of "The image", and what remains of "the reference" becomes
    "a high-quality image".
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = re.sub(r"(^|[.!?]\s+)([a-z])", lambda found: found[1] + found[2].upper(), text.strip())
    return None if re.search(r"referenc", text, re.IGNORECASE) else text


def no_reference_record(record: dict, key: str) -> dict | None:
    """The same record without its reference, under the id ``key``; None if its answer cannot do without it.

    Question, images A and B and the true distortions stay; training records change their task type.
    """
    changed = {**record, "id": key, "image_ref": None}
    if "conversations" not in record:
        changed["answer"] = without_reference(record["answer"])
        return changed if changed["answer"] else None
    question, answer = record["conversations"]
    text = without_reference(answer["value"])
    changed["task_type"] = record["task_type"] + "_noref"
    changed["conversations"] = [question, {**answer, "value": text}]
    return changed if text else None
