"""A workflow as code: every hour, tell a Discord channel when it is freezing."""

from connectors import discord, openweather
from flows import Event, schedule, workflow

CITY = "Berlin"


@workflow(triggers=[schedule(cron="0 * * * *", timezone="Europe/Berlin")], tags=["example"])
async def weather_watch(event: Event) -> dict[str, float | str | None]:
    """Tells a Discord channel when it freezes in Berlin; looked up every hour."""
    weather = await openweather.current_weather(city=CITY, credential="openweather")
    message_id = None
    if weather["temperature"] < 0:
        text = f"{CITY}: {weather['temperature']} °C, {weather['description']}"
        posted = await discord.post_message(content=text, credential="team-discord")
        message_id = posted["id"]
    return {"temperature": weather["temperature"], "message_id": message_id}
