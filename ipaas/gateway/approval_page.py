"""The page where a person decides: what is asked, a form, two buttons. It works without JavaScript.

Its form is made of the approval's JSON Schema: a field for each property of the object that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment

from flows.history import Execution, Wait

_PREFIX: Final = "form."
_TYPES: Final = {"number": "number", "integer": "number", "boolean": "checkbox"}
_FORMATS: Final = {"date": "date", "email": "email", "uri": "url", "time": "time"}

_PAGE: Final = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ workflow }}: {{ state }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem; }
body { color: #222; background: #fff; }
h1 { font-size: 1.4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
label { display: block; margin: 1rem 0; }
input, select, textarea { font: inherit; padding: .4rem; width: 100%; box-sizing: border-box; }
input[type=checkbox] { width: auto; }
button { font: inherit; padding: .5rem 1.2rem; margin-right: .6rem; }
small { color: #666; }
.error { color: #a00; }
@media (prefers-color-scheme: dark) {
  body { background: #181818; color: #ddd; }
  .error { color: #f88; }
  small { color: #999; }
}
</style>
</head>
<body>
<small>{{ workflow }} asks</small>
<h1>{{ message }}</h1>
{% if error %}<p class="error" role="alert">{{ error }}</p>{% endif %}
{% if state == "open" %}
<form method="post">
{% for field in form %}
<label>{{ field.title }}{% if field.required %} *{% endif %}
{% if field.choices %}
<select name="{{ field.name }}">
{% if not field.required %}<option value=""></option>{% endif %}
{% for choice in field.choices %}<option{% if choice == field.value %} selected{% endif %}>{{ choice }}</option>
{% endfor %}
</select>
{% elif field.type == "json" %}
<textarea name="{{ field.name }}" rows="4" placeholder="JSON">{{ field.value }}</textarea>
{% elif field.type == "checkbox" %}
<input type="checkbox" name="{{ field.name }}" value="true"{% if field.value == "true" %} checked{% endif %}>
{% else %}
<input type="{{ field.type }}" name="{{ field.name }}" value="{{ field.value }}" step="any">
{% endif %}
{% if field.description %}<small>{{ field.description }}</small>{% endif %}
</label>
{% endfor %}
<label>Your name <input name="by" maxlength="200" autocomplete="name" value="{{ by }}"></label>
<button name="decision" value="approve">Approve</button>
<button name="decision" value="reject">Reject</button>
</form>
{% if due %}<p><small>Until {{ due }}.</small></p>{% endif %}
{% else %}
<p>{{ said }}</p>
{% if sent %}<pre>{{ sent }}</pre>{% endif %}
{% endif %}
</body>
</html>
""")


def page(execution: Execution, wait: Wait | None, *, error: str | None, fields: Mapping[str, Any]) -> str:
    """
    Args:
        wait: None: nothing is asked yet.
        fields: what was filled in before, and did not fit.
    """
    state, said = _state(execution, wait)
    document = wait.document if wait else {"message": "Nothing is asked here yet.", "form": None}
    form = (wait.answer or {}).get("form") if wait else None
    return _PAGE.render(
        workflow=execution.workflow,
        message=document["message"],
        form=[_field(*one, fields) for one in _properties(document["form"])],
        state=state,
        said=said,
        sent=json.dumps(form, indent=2, ensure_ascii=False) if form else None,
        error=error,
        by=fields.get("by", ""),
        due=f"{wait.due_at:%Y-%m-%d %H:%M} UTC" if wait and wait.due_at else None,
    )


def filled_in(wait: Wait, fields: Mapping[str, Any]) -> Any:
    """The form as JSON, of the page's fields. What is no number, say, stays text: the schema tells what is wrong."""
    schema = wait.document["form"]
    if schema is None:
        return None
    filled = {}
    for name, one, _ in _properties(schema):
        text = fields.get(f"{_PREFIX}{name}", "")
        if _type(one) == "checkbox":
            filled[name] = text == "true"
        elif text != "":
            filled[name] = text if _type(one) not in ("number", "json") and not one.get("enum") else _value(text, one)
    return filled


def _state(execution: Execution, wait: Wait | None) -> tuple[str, str]:
    if wait is not None and wait.answered:
        decided = "Approved" if wait.answer["approved"] else "Rejected"
        by = f" by {wait.answered_by}" if wait.answered_by else ""
        return decided.lower(), f"{decided}{by}, {wait.ended_at:%Y-%m-%d %H:%M} UTC."
    if execution.status.is_final or (wait is not None and wait.ended_at):
        return "over", "This is over: nobody decided in time, or it was cancelled."
    return ("open", "") if wait else ("early", "Come back in a moment.")


def _properties(schema: Any) -> list[tuple[str, Mapping[str, Any], bool]]:
    """Name, schema, and whether it is required."""
    if not isinstance(schema, Mapping) or not isinstance(schema.get("properties"), Mapping):
        return []
    required = schema.get("required", ())
    return [
        (name, one if isinstance(one, Mapping) else {}, name in required) for name, one in schema["properties"].items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "string")
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), "text")
    return _TYPES.get(kind, "json") if isinstance(kind, str) else "json"


def _field(name: str, schema: Mapping[str, Any], required: bool, fields: Mapping[str, Any]) -> dict[str, Any]:
    default = schema.get("default", "")
    value = fields.get(f"{_PREFIX}{name}", default if isinstance(default, str) else json.dumps(default))
    choices = [one if isinstance(one, str) else json.dumps(one) for one in schema.get("enum", ())]
    return {
        "name": f"{_PREFIX}{name}",
        "title": schema.get("title", name),
        "description": schema.get("description"),
        "type": _type(schema),
        "choices": choices,
        "required": required,
        "value": value,
    }


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    if text in schema.get("enum", ()):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
