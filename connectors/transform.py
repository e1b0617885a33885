"""`transform`: data into other data, without asking anybody."""

from __future__ import annotations

from typing import Any

from jmespath import search  # type: ignore[import-untyped]  # it ships no types
from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]

from connectors.kit.action import Unrendered, action
from connectors.kit.call import current_call
from foundation.errors import ActionError


@action("transform.jmespath")
async def jmespath(*, expression: str, data: Any) -> Any:
    """Picks and reshapes JSON data: https://jmespath.org/specification.html

    Args:
        expression: a JMESPath expression.
        data: what it is applied to.

    Returns:
        What the expression selects; None when it selects nothing.
    """
    try:
        return search(expression, data)
    except JMESPathError as error:
        raise ActionError(f"transform.jmespath: {' '.join(str(error).split())}") from None


@action("transform.template")
async def template(*, template: Unrendered, data: dict[str, Any]) -> Any:
    """Renders a template: https://jinja.palletsprojects.com/en/stable/templates/

    Args:
        template: text with `{{ … }}`, as in a workflow; its names are the keys of `data`.
        data: what the template sees, and nothing else.

    Returns:
        The text; a template that is exactly one `{{ … }}` keeps the value's type.

    Raises:
        ExpressionError: the template is wrong or names what `data` lacks.
    """
    return current_call.get().services.render(template, data)
