"""`openweather`: the weather from OpenWeather."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from blocks.credential_types import OpenWeatherCredential
from connectors.kit.action import action, opened
from connectors.kit.call import current_call
from connectors.kit.http_client import request
from foundation.errors import RemoteError

API = "https://api.openweathermap.org"

Units = Literal["standard", "metric", "imperial"]


class CurrentWeather(TypedDict):
    """Temperatures in K (standard), °C (metric) or °F (imperial); wind in m/s or (imperial) miles/h; humidity in %."""

    city: str
    country: str | None
    description: str
    temperature: float
    feels_like: float
    humidity: int
    wind_speed: float
    units: Units


@action("openweather.current_weather", credential=OpenWeatherCredential)
async def current_weather(*, city: str, units: Units = "metric", credential: str) -> CurrentWeather:
    """Gets a city's current weather: https://openweathermap.org/current

    Args:
        city: `London`, or with the country's ISO 3166 code `London,GB`.
        units: standard, metric or imperial.
        credential: the name of a credential of type openweather.

    Returns:
        The weather, in the units asked for.

    Raises:
        RemoteError: OpenWeather refused, or doesn't know the city (404).
    """
    key = (await opened(credential, OpenWeatherCredential)).reveal("api_key")
    base = current_call.get().services.base_url("openweather", API)
    answer = await request(
        "GET",
        f"{base}/data/2.5/weather",
        query={"q": city, "units": units, "appid": key},
        credential=credential,
    )
    body: dict[str, Any] = answer.json_object()
    try:
        return {
            "city": body["name"],
            "country": body.get("sys", {}).get("country"),
            "description": body["weather"][0]["description"],
            "temperature": body["main"]["temp"],
            "feels_like": body["main"]["feels_like"],
            "humidity": body["main"]["humidity"],
            "wind_speed": body["wind"]["speed"],
            "units": units,
        }
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        message = f"OpenWeather answered in an unknown form: {type(error).__name__} {error}"
        raise RemoteError(message, status=answer.status) from None


async def check_credential(name: str) -> str:
    """Whether the key works, by asking for the weather: https://openweathermap.org/current"""
    weather = await current_weather(city="London", credential=name)
    return f"OpenWeather takes the key: {weather['description']} in {weather['city']}"
