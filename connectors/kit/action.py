"""An action: one thing a connector can do, and a Prefect task.

    @action("slack.post_message", credential=SlackCredential)
    async def post_message(*, channel: str, text: str, credential: str) -> PostedMessage:
        ...

The decorated function is called alike from Python (`await slack.post_message(…)`), from YAML (`uses:
slack.post_message`) and from a plain script without any server (`await slack.post_message.fn(…)`).
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from prefect import Task
from prefect.cache_policies import NO_CACHE
from pydantic import ConfigDict, ValidationError, validate_call

from blocks.credential import Credential
from blocks.token_credential import NoToken
from connectors.kit.call import CredentialSource, StepOptions, current_call, current_runner
from connectors.kit.description import UNRENDERED, URL, Description, describe, marked
from connectors.kit.direct import script_runner
from connectors.kit.retry import RetryPolicy
from foundation.duration import in_seconds
from foundation.errors import ActionError, CredentialError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
C = TypeVar("C", bound=Credential)

Unrendered = Annotated[str, UNRENDERED]
"""A parameter whose text the workflow hands over as it is written, `{{ … }}` included."""
Url = Annotated[str, URL]
"""A parameter that is an address: what a workflow renders into it is encoded for its place, and can't leave it."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_URL = re.compile(r"https://[^\s<>]+[^\s<>.,)]")


class Action(Task[P, R]):
    """A registered async function. Made by `@action`.

    Attributes:
        action_name: `slack.post_message`; what workflows write after `uses:`.
        connector: `slack`.
        signature: the author's, with real types for annotations.
        credential: the credential types it takes, in the order they are looked for; empty when it takes none.
        credential_required: whether it can't do without.
        documentation: the address of the vendor's page.
        unrendered: the parameters that are handed over as they are written.
        urls: those that are addresses.
        narrowed_by: as `Description.narrowed_by`.
        step_options: what `with_id`, `with_retry` and `with_timeout` said.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str,
        credential: tuple[type[Credential], ...],
        signature: inspect.Signature | None = None,
        documentation: str = "",
        narrowed_by: str = "",
        **options: Any,
    ) -> None:
        """
        Args:
            signature, documentation: what the function does not say itself: one that takes any arguments and checks
                them itself.
        """
        self.signature = signature or _signature(function, name, takes_credential=bool(credential))
        self.narrowed_by, self._checks_itself = narrowed_by, signature is not None
        self.action_name, self.credential = name, credential
        given = self.signature.parameters.get("credential")
        self.credential_required = given is not None and given.default is inspect.Parameter.empty
        self.unrendered, self.urls = (frozenset(marked(self.signature, mark)) for mark in (UNRENDERED, URL))
        self.documentation = documentation if signature else _documentation(function, name)
        self.step_options = StepOptions()
        self._function = function
        ours: dict[str, Any] = {"persist_result": False, "cache_policy": NO_CACHE, "retries": 0}
        super().__init__(fn=self._as_step(function), name=name, **ours | options)
        self.task_key = name  # Prefect's own is made of the wrapper's code, which all actions share

    @property
    def connector(self) -> str:
        return self.action_name.partition(".")[0]

    @cached_property
    def described(self) -> Description:
        """What can be known of it without running it."""
        kinds = [kind.get_block_type_slug() for kind in self.credential]
        known = describe(self.action_name, self.signature, inspect.getdoc(self.fn) or "", kinds)
        return replace(known, narrowed_by=self.narrowed_by)

    def with_options(self, **options: Any) -> Action[P, R]:
        """The same action with other Prefect task options."""
        changed = copy.copy(self)
        changed.__dict__.update(super().with_options(**options).__dict__, task_key=self.task_key)
        return changed

    def with_id(self, id: str) -> Action[P, R]:
        """The same action as the step `id` of a Python workflow, as in YAML."""
        return self._as_called(id=id)

    def with_retry(
        self,
        *,
        attempts: int = 3,
        delay: str | float = 1.0,
        backoff: Literal["constant", "linear", "exponential"] = "exponential",
        max_delay: str | float = 30.0,
        on: Sequence[int | str] = (),
    ) -> Action[P, R]:
        """The same action, which a Python workflow tries again when it failed, as YAML's `retry` says."""
        policy = RetryPolicy(attempts, in_seconds(delay), backoff, in_seconds(max_delay), tuple(on))
        return self._as_called(retry=policy)

    def with_timeout(self, timeout: str | float) -> Action[P, R]:
        """The same action, whose attempts in a Python workflow may take so long (`30s`, or seconds)."""
        return self._as_called(timeout=in_seconds(timeout))

    def _as_called(self, **options: Any) -> Action[P, R]:
        called = copy.copy(self)
        called.step_options = replace(self.step_options, **options)
        called.fn = called._as_step(self._function)
        return called

    if not TYPE_CHECKING:  # the author's signature, as `Task` shows it, is what type checkers see

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            # An action that calls another one is one step. In a workflow the runner makes the task run, if any.
            if current_call.get(None) is not None or current_runner.get(None) is not None:
                return self.fn(*args, **kwargs)
            return super().__call__(*args, **kwargs)

    def _as_step(self, function: Callable[P, Any]) -> Callable[P, Any]:
        # Workflows render to whatever type the data has: a number where a string is wanted becomes its text.
        @wraps(function)
        def called(*args: P.args, **arguments: P.kwargs) -> Any:  # not async, so that it checks when it is called
            return function(*args, **arguments)

        config = ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)
        checked = called if self._checks_itself else validate_call(config=config)(called)

        @wraps(function)
        async def as_step(*args: P.args, **arguments: P.kwargs) -> Any:
            async def body() -> Any:
                if self.credential_required and not arguments.get("credential"):
                    kinds = " or ".join(kind.get_block_type_slug() for kind in self.credential)
                    raise CredentialError(f"{self.action_name} needs `credential`, the name of one of type {kinds}")
                try:
                    attempt = checked(*args, **arguments)
                except ValidationError as error:
                    raise ActionError(f"{self.action_name}: {_faults(error)}") from None
                return await attempt

            if current_call.get(None) is not None:
                return await body()
            runner = current_runner.get(None)
            if runner is None:
                async with script_runner() as runner:
                    return await runner.run(self, dict(arguments), body)
            return await runner.run(self, dict(arguments), body)

        return as_step


def action(
    name: str,
    *,
    credential: type[Credential] | tuple[type[Credential], ...] = (),
    narrowed_by: str = "",
    **options: Any,
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Action[P, Coroutine[Any, Any, T]]]:
    """Registers an async function as the action `name`, which is `connector.verb_object`.

    Its parameters are keyword-only and typed, its result is typed, and its docstring has the arguments and the
    address of the vendor's page. With `credential` it has a parameter `credential: str`, or `credential: str | None =
    None` when it can do without; it opens it with `opened`.

    Args:
        credential: the type it takes, or several.
        narrowed_by: as `Description.narrowed_by`.
        options: further options of Prefect's task.

    Raises:
        TypeError: the function is not written that way; the message says what is missing.
    """
    kinds = credential if isinstance(credential, tuple) else (credential,)
    return lambda function: Action(function, name=name, credential=kinds, narrowed_by=narrowed_by, **options)


async def opened(name: str, *kinds: type[C]) -> C:
    """The credential called `name`, of the first of these types that has one. For use inside an action.

    Raises:
        CredentialError: it does not exist, is of another type, or can't be opened.
    """
    credentials = current_call.get().services.credentials
    known = _kinds_found.setdefault(credentials, {})
    faults = []
    for kind in sorted(kinds, key=lambda kind: known.get(name) is not kind):
        try:
            credential = await credentials.get(name, kind)
        except CredentialError as error:
            if error.retriable or len(kinds) == 1 or isinstance(error, NoToken):
                raise
            faults.append(str(error))
        else:
            known[name] = kind
            return credential
    raise CredentialError("; ".join(dict.fromkeys(faults)))


_kinds_found: WeakKeyDictionary[CredentialSource, dict[str, type[Credential]]] = WeakKeyDictionary()
"""Which type a name turned out to be of: asking for the wrong ones first would cost a request each."""


def _signature(function: Callable[..., Any], name: str, *, takes_credential: bool) -> inspect.Signature:
    if not _NAME.fullmatch(name):
        raise TypeError(f"{name!r}: an action is called `connector.verb_object`, in lower case")
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name}: an action is an async function")
    signature = inspect.signature(function, eval_str=True)
    for parameter in signature.parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or parameter.annotation is inspect.Parameter.empty:
            raise TypeError(f"{name}: parameter {parameter.name!r} must be keyword-only and typed")
    if signature.return_annotation is inspect.Signature.empty:
        raise TypeError(f"{name}: the result must be typed")
    if takes_credential != ("credential" in signature.parameters):
        raise TypeError(f"{name}: a parameter `credential` and @action(credential=…) go together")
    return signature


def _documentation(function: Callable[..., Any], name: str) -> str:
    found = _URL.search(inspect.getdoc(function) or "")
    if not found:
        raise TypeError(f"{name}: the docstring must have the https address of the vendor's page")
    return found[0]


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"`{'.'.join(map(str, fault['loc']))}`: {fault['msg']}" for fault in faults)
