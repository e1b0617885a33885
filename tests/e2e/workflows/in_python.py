from connectors import http
from flows import Event, webhook, workflow


@workflow(triggers=[webhook(auth="none")])
async def in_python(event: Event) -> dict:
    """The three steps, as code."""
    await http.request(method="POST", url="http://sink/before", json=event.body)
    await http.request(method="POST", url="http://sink/slow", json=event.body)
    after = await http.request(method="POST", url="http://sink/after", json=event.body)
    return {"n": after["body"]["got"]["n"]}
