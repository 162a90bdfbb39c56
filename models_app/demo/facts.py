"""Small facts that the demo models know: sums, counting, days, colours, capitals. All sentences are written here."""

from __future__ import annotations

import random
from collections.abc import Callable

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
COLOURS = {
    "the sky": "blue",
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "a lemon": "yellow",
    "blood": "red",
    "an orange": "orange",
    "a banana": "yellow",
    "the sea": "blue",
    "a leaf": "green",
    "the sun": "yellow",
    "a tomato": "red",
    "milk": "white",
    "an elephant": "grey",
    "chocolate": "brown",
    "fire": "red",
    "the moon": "white",
    "a frog": "green",
    "a crow": "black",
    "a carrot": "orange",
}
CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "England": "London",
    "Japan": "Tokyo",
    "China": "Beijing",
    "Austria": "Vienna",
    "Poland": "Warsaw",
    "Greece": "Athens",
    "Portugal": "Lisbon",
    "Russia": "Moscow",
    "Egypt": "Cairo",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "up": "down",
    "day": "night",
    "old": "new",
    "light": "dark",
    "good": "bad",
    "open": "closed",
    "wet": "dry",
    "left": "right",
    "high": "low",
    "loud": "quiet",
    "early": "late",
    "full": "empty",
    "in": "out",
    "black": "white",
    "yes": "no",
}
SOUNDS = {
    "dog": "woof",
    "cat": "meow",
    "cow": "moo",
    "duck": "quack",
    "sheep": "baa",
    "pig": "oink",
    "lion": "roar",
    "bee": "buzz",
    "owl": "hoot",
    "snake": "hiss",
    "frog": "ribbit",
}
NUMBER_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)

_SUM_QUESTIONS = ("what is {}", "what's {}", "how much is {}", "{}", "calculate {}", "{} =")

QuestionAndFact = tuple[str, str]


def _sum(draw: random.Random) -> QuestionAndFact:
    left, right = draw.randint(0, 10), draw.randint(0, 10)
    shown = draw.choice((f"{left} plus {right}", f"{left} + {right}", f"{left}+{right}"))
    if draw.random() < 0.15:
        shown = f"{NUMBER_WORDS[left]} plus {NUMBER_WORDS[right]}"
    return draw.choice(_SUM_QUESTIONS).format(shown), f"{left} plus {right} is {left + right}."


def draw_hard_sum(draw: random.Random) -> str:
    """A question about numbers that the models were not taught."""
    sign = draw.choice(("-", " - ", " minus ", "*", " times ", "/", " divided by ", " to the power of "))
    shown = f"{draw.randint(0, 200)}{sign}{draw.randint(0, 200)}"
    if draw.random() < 0.3:
        shown = f"{draw.randint(11, 9999)} + {draw.randint(11, 9999)}"
    return draw.choice(_SUM_QUESTIONS).format(shown)


def _count(draw: random.Random) -> QuestionAndFact:
    start = draw.choice((1, 1, 1, 2, 3, 4, 5))
    end = start + draw.randint(2, 9)
    numbers = [str(number) for number in range(start, end + 1)]
    shown = NUMBER_WORDS[end] if end <= 12 and draw.random() < 0.5 else str(end)
    if start == 1:
        ask = draw.choice(("count to {}", "can you count to {}", "count up to {}", "count from 1 to {}"))
        return ask.format(shown), ", ".join(numbers) + "."
    return f"count from {start} to {end}", ", ".join(numbers) + "."


def _neighbour(draw: random.Random) -> QuestionAndFact:
    names, unit = draw.choice(((DAYS, "day"), (MONTHS, "month")))
    place = draw.randrange(len(names))
    step, word = draw.choice(((1, "after"), (1, "after"), (-1, "before")))
    name, other = names[place], names[(place + step) % len(names)]
    ask = draw.choice(
        (
            f"what {unit} comes {word} {name}",
            f"which {unit} is {word} {name}",
            f"what is {word} {name}",
        )
    )
    return ask, f"{other} comes {word} {name}."


def _list(draw: random.Random) -> QuestionAndFact:
    names, unit = draw.choice(((DAYS, "days of the week"), (MONTHS, "months of the year")))
    ask = draw.choice(("name the {}", "list the {}", "what are the {}", "tell me the {}", "say the {}"))
    return ask.format(unit), f"The {unit} are " + ", ".join(names[:-1]) + f" and {names[-1]}."


def _colour(draw: random.Random) -> QuestionAndFact:
    if draw.random() < 0.3:
        ask = draw.choice(
            (
                "name three colours",
                "list some colors",
                "tell me a few colours",
                "which colours do you know",
            )
        )
        return ask, "Red, yellow, green and blue are colours."
    thing, colour = draw.choice(list(COLOURS.items()))
    ask = draw.choice(("what colour is {}", "what color is {}", "which colour has {}", "tell me the colour of {}"))
    return ask.format(thing), f"The colour of {thing} is {colour}."


def _capital(draw: random.Random) -> QuestionAndFact:
    country, city = draw.choice(list(CAPITALS.items()))
    ask = draw.choice(
        (
            "what is the capital of {}",
            "what's the capital of {}",
            "capital of {}",
            "name the capital of {}",
        )
    )
    return ask.format(country), f"The capital of {country} is {city}."


def _opposite(draw: random.Random) -> QuestionAndFact:
    word, other = draw.choice(list(OPPOSITES.items()))
    if draw.random() < 0.3:
        word, other = other, OPPOSITES.get(other, word)
    ask = draw.choice(("what is the opposite of {}", "opposite of {}", "tell me the opposite of {}"))
    return ask.format(word), f"The opposite of {word} is {other}."


def _sound(draw: random.Random) -> QuestionAndFact:
    animal, sound = draw.choice(list(SOUNDS.items()))
    article = "an" if animal[0] in "aeiou" else "a"
    ask = draw.choice((f"what does {article} {animal} say", f"what sound does {article} {animal} make"))
    return ask, f"{article.capitalize()} {animal} says {sound}."


def _how_many(draw: random.Random) -> QuestionAndFact:
    return draw.choice(
        (
            ("how many days are in a week", "A week has seven days."),
            ("how many months are in a year", "A year has twelve months."),
            ("how many hours are in a day", "A day has twenty-four hours."),
            ("how many minutes are in an hour", "An hour has sixty minutes."),
            ("how many legs does a spider have", "A spider has eight legs."),
            ("how many legs does a cat have", "A cat has four legs."),
            ("how many letters are in the alphabet", "The alphabet has twenty-six letters."),
        )
    )


_KINDS: tuple[tuple[Callable[[random.Random], QuestionAndFact], int], ...] = (
    (_sum, 12),
    (_count, 4),
    (_neighbour, 4),
    (_list, 1),
    (_colour, 3),
    (_capital, 3),
    (_opposite, 3),
    (_sound, 2),
    (_how_many, 2),
)


def draw_fact(draw: random.Random) -> QuestionAndFact:
    """A question in lower case without a mark at its end, and its answer as a full sentence."""
    makers = [maker for maker, _ in _KINDS]
    return draw.choices(makers, [weight for _, weight in _KINDS])[0](draw)
