"""`openweather`: the weather from OpenWeather."""

from __future__ import annotations

from typing import Literal, TypedDict

from pydantic import Field, SecretStr

from blocks.credential import Credential
from connectors.kit.action import action
from connectors.kit.api import Api
from connectors.kit.auth import query
from connectors.kit.refusals import Errors, Fault


class OpenWeatherCredential(Credential):
    _block_type_slug = "openweather"
    _block_type_name = "OpenWeather"
    _description = "An OpenWeather API key: https://openweathermap.org/appid"

    api_key: SecretStr = Field(title="API key", description="The API key.")


API = Api(
    "openweather",
    base_url="https://api.openweathermap.org",
    auth={OpenWeatherCredential: query("appid", "api_key")},
    # https://openweathermap.org/faq#error401
    errors=Errors(
        {
            401: Fault("check the API key; a new one works only some hours after it was made"),
            404: Fault("check the city's name, or add its country as in London,GB"),
            429: Fault("the plan's calls are used up"),
        }
    ),
)

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
    """
    answer = await API.get("/data/2.5/weather", query={"q": city, "units": units}, credential=credential)
    with answer.reading() as body:
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


async def check_credential(name: str) -> str:
    """Whether the key works, by asking for the weather: https://openweathermap.org/current"""
    weather = await current_weather(city="London", credential=name)
    return f"OpenWeather takes the key: {weather['description']} in {weather['city']}"
