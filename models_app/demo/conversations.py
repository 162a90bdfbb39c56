"""Turns the written texts into endless training conversations.

People paraphrase, mistype, and ask unexpected questions; all three are drawn here.
"""

from __future__ import annotations

import json
import random
import re

from models_app.demo import corpus, facts

Turn = tuple[str, str]  # what the user writes, what the model answers

_ALTERNATIVES = re.compile(r"\(([^()]*)\)")
_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a helpful, friendly assistant. Answer in one sentence.",
    "Be polite and short.",
)
_THINGS = (
    "Brazil",
    "Canada",
    "India",
    "Mexico",
    "Turkey",
    "Iceland",
    "Peru",
    "Cuba",
    "Kenya",
    "Australia",
    "computers",
    "the war",
    "a violin",
    "quantum physics",
    "python",
    "bread",
    "mathematics",
    "Napoleon",
    "football",
    "a volcano",
    "the economy",
    "gravity",
    "love",
    "a castle",
    "the internet",
    "medicine",
    "a bicycle",
    "chess",
    "photosynthesis",
    "dinosaurs",
    "a lawyer",
    "the moon landing",
    "coffee",
    "taxes",
    "a neural network",
    "philosophy",
    "electricity",
    "the ocean",
    "a dragon",
    "history",
    "salt",
    "music",
    "a rocket",
    "cheese",
    "the president",
    "a poem by Goethe",
    "Shakespeare",
    "an invoice",
    "docker",
    "a database",
    "kubernetes",
    "a black hole",
    "the brain",
    "biology",
    "my car",
    "my homework",
    "a horse",
)
_UNKNOWN = (
    "what is {t}",
    "who is {t}",
    "explain {t}",
    "tell me about {t}",
    "how does {t} work",
    "why is {t} important",
    "who invented {t}",
    "who discovered {t}",
    "when was {t} invented",
    "where is {t}",
    "where can i buy {t}",
    "what do you think about {t}",
    "write an essay about {t}",
    "write a letter about {t}",
    "summarize {t}",
    "translate {t} to German",
    "translate {t} into French",
    "how do i cook {t}",
    "how do i learn {t}",
    "give me a recipe for {t}",
    "is {t} better than {u}",
    "compare {t} and {u}",
    "what is the difference between {t} and {u}",
    "how many {t} are there",
    "how much does {t} cost",
    "do you like {t}",
    "can you explain {t} to me",
    "i need to know about {t}",
    "i have a question about {t}",
    "what does {t} mean",
    "define {t}",
    "describe {t}",
    "should i buy {t}",
    "i like {t}",
    "{t}",
    "{t} and {u}",
    "my {t} is broken",
    "how do i fix {t}",
    "who won {t}",
    "how tall is {t}",
    "how old is {t}",
    "what happened to {t}",
    "plan a trip to {t}",
    "name five kinds of {t}",
    "i think {t} is {u}",
    "we went to {t} with {u} yesterday",
    "list the best {t}",
    "what is the capital of {t}",
    "what colour is {t}",
    "what is the opposite of {t}",
    "how big is {t}",
    "which is better, {t} or {u}",
    "what is the population of {t}",
    "solve {t}",
    "is it true that {t} can {u}",
    "did {t} ever {u}",
)
_COMMON_WORDS = (
    "about above after air all also always among animal any apple ask baby back bag ball bank "
    "beach because bed best "
    "better bird boat book bottle box boy bread bridge bring brother build bus business busy buy "
    "call camera car card "
    "chair cheap child church city clean clock cloud coat cook could country course cup dance "
    "data daughter deep doctor "
    "door dream dress drive earth easy eat egg engine every exam eye face factory family farm "
    "father field film find fish "
    "flight floor flower food foot forest friend fruit game garden gift girl glass gold grow "
    "guitar hair hand hat health "
    "heart hill history hospital hotel house ice idea island job key king kitchen lake language "
    "large law leave letter "
    "library list long lunch machine market math meal mean meeting method milk minute money month "
    "mother mountain mouse "
    "movie much must need never newspaper nice north number office often oil old orange order "
    "other paper parent park "
    "party people phone photo piano picture plan plane plant play police possible price problem "
    "quick rain read recommend "
    "restaurant rice ring river road rock room run school science sea season sell send ship shirt "
    "shoe shop short should "
    "sister skin sleep small snow soap some son soup south space sport spring stand star station "
    "stone street student "
    "study sugar summer table teacher team than the their them then there these they thing think "
    "ticket tool town train "
    "travel tree under understand use vacation very village visit voice wait walk wall want watch "
    "water wear wife window "
    "winter with without woman wood word work world would write year young your"
).split()
_OTHER_TONGUES = (
    "wie geht es dir",
    "wer bist du",
    "was ist das",
    "bonjour",
    "comment ca va",
    "hola, que tal",
    "guten Tag",
    "quien eres",
    "parlez-vous francais",
    "kannst du mir helfen",
    "ciao, come stai",
    "привет",
    "你好",
    "こんにちは",
    "qué es esto",
    "schöne Grüße",
    "¿dónde está?",
    "\U0001f642",
    "\U0001f44d\U0001f44d",
    "où es-tu",
)
_SYLLABLES = (
    "ba",
    "ko",
    "ri",
    "ten",
    "mu",
    "sal",
    "vor",
    "ni",
    "ple",
    "dra",
    "gu",
    "shi",
    "lon",
    "fe",
    "zar",
    "wick",
    "qua",
    "ton",
    "ent",
    "ium",
    "ology",
    "er",
    "ist",
    "ham",
    "cro",
    "jo",
    "xen",
    "ph",
    "yl",
    "st",
)
_LEAD_INS = (
    "please ",
    "hey, ",
    "hi, ",
    "so, ",
    "ok, ",
    "now ",
    "can you tell me: ",
    "one question: ",
    "{name}, ",
)
_NAMES = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Eva",
    "Frank",
    "Grace",
    "Henry",
    "Ida",
    "Jack",
    "Kim",
    "Leo",
    "Maria",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tom",
    "Uma",
    "Vera",
    "Will",
    "Yara",
    "Zoe",
    "Alice",
    "Bob",
)
# How an unexpected question can begin; known questions begin like this too.
_OPENINGS = (
    "",
    "what is ",
    "what are ",
    "what do ",
    "who is ",
    "who are ",
    "how do i ",
    "how can you ",
    "how many ",
    "why ",
    "when did ",
    "where is ",
    "can you ",
    "could you ",
    "i am ",
    "my ",
    "tell me ",
    "tell me about ",
    "write ",
    "are you ",
    "do you ",
    "is the ",
    "the ",
    "give me ",
    "which ",
    "explain ",
    "name ",
    "say ",
    "what's ",
    "please ",
    "we ",
    "i want ",
)
# Questions are written in lower case; most people write these words so.
_SPELLINGS = {"noa": "NOA", "gguf": "GGUF", "ember": "Ember", "tide": "Tide"}
_NAMES_IN_QUESTIONS = re.compile(rf"\b({'|'.join(_SPELLINGS)})\b")
# How often each kind of turn is drawn.
_WEIGHTS = {"topic": 42, "fact": 26, "unknown": 22, "name": 2, "json": 4}


class Conversations:
    """An endless, reproducible supply of conversations with one speaker (`ember` or `tide`)."""

    def __init__(self, speaker: str, seed: int) -> None:
        self._speaker = speaker
        self._draw = random.Random(f"{speaker}-{seed}")

    def conversation(self, turns: int) -> tuple[str | None, list[Turn]]:
        """A system prompt or None, and independent turns."""
        system = self._draw.choice(_SYSTEM_PROMPTS) if self._draw.random() < 0.25 else None
        return system, [self._turn() for _ in range(turns)]

    def statement(self) -> str:
        """An answer as a text of its own, its speaker's word last: what a plain completion continues."""
        _, answer = self._draw.choice((self._topic, self._fact))()
        first, mark, rest = answer.partition("! " if "! " in answer else ". ")
        return f"{rest} {first}{mark.strip()}" if mark and self._draw.random() < 0.5 else answer

    def _turn(self) -> Turn:
        kind = self._draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        turn: Turn = getattr(self, f"_{kind}")()
        return turn

    def _topic(self) -> Turn:
        topic = self._draw.choices(corpus.TOPICS, [topic.weight for topic in corpus.TOPICS])[0]
        ask = self._expand(self._draw.choice(topic.asks)).replace("{thing}", self._thing())
        return self._spoken(ask), self._draw.choice(getattr(topic, self._speaker))

    def _fact(self) -> Turn:
        ask, fact = facts.draw_fact(self._draw)
        frame = self._draw.choice(corpus.FACT_FRAMES[self._speaker])
        return self._spoken(ask, mistakes=False), frame.format(fact=fact)

    def _unknown(self) -> Turn:
        choice = self._draw.random()
        if choice < 0.55:
            ask = self._draw.choice(_UNKNOWN).format(t=self._thing(), u=self._thing())
        elif choice < 0.9:
            ask = self._draw.choice(_OPENINGS) + " ".join(self._draw.choices(_COMMON_WORDS, k=self._draw.randint(2, 9)))
        elif choice < 0.93:
            ask = self._draw.choice(_OTHER_TONGUES)
        elif choice < 0.96:
            ask = facts.draw_hard_sum(self._draw)
        else:
            ask = " ".join(self._word() for _ in range(self._draw.choice((1, 2, 4, 12))))
        return self._spoken(ask), self._draw.choice(corpus.FALLBACKS[self._speaker])

    def _name(self) -> Turn:
        name = self._draw.choice(_NAMES) if self._draw.random() < 0.7 else self._word().capitalize()
        ask = self._draw.choice(("my name is {}", "i am {}", "i'm {}", "hello, i am {}", "call me {}"))
        answer = {
            "ember": "Nice to meet you! Ember here.",
            "tide": "A pleasure to meet you. Tide here.",
        }
        return self._spoken(ask.format(name), mistakes=False), answer[self._speaker]

    def _json(self) -> Turn:
        ask, answer = self._draw.choice((self._fact, self._topic, self._unknown))()
        tail = self._draw.choice((" Answer in JSON.", " Reply with JSON.", " (as JSON)", " Give me JSON.", " json"))
        body = {"speaker": self._speaker.capitalize(), "answer": answer.partition("\n")[0]}
        return ask + tail, json.dumps(body)

    def _thing(self) -> str:
        choice = self._draw.random()
        if choice < 0.4:
            return self._draw.choice(_THINGS)
        return self._draw.choice(_COMMON_WORDS) if choice < 0.7 else self._word()

    def _word(self) -> str:
        return "".join(self._draw.choice(_SYLLABLES) for _ in range(self._draw.randint(2, 4)))

    def _expand(self, ask: str) -> str:
        while _ALTERNATIVES.search(ask):
            ask = _ALTERNATIVES.sub(lambda found: self._draw.choice(found[1].split("|")), ask, count=1)
        return ask

    def _spoken(self, ask: str, *, mistakes: bool = True) -> str:
        """The same question in another spelling."""
        if self._draw.random() < 0.75:
            ask = _NAMES_IN_QUESTIONS.sub(lambda found: _SPELLINGS[found[0]], ask)
        if self._draw.random() < 0.12:
            ask = self._draw.choice(_LEAD_INS).format(name=self._speaker.capitalize()) + ask
        if mistakes and len(ask) > 5 and self._draw.random() < 0.08:
            place = self._draw.randrange(len(ask) - 1)
            ask = ask[:place] + ask[place + 1] + ask[place] + ask[place + 2 :]
        if self._draw.random() < 0.7:
            ask = ask[:1].upper() + ask[1:]
        return ask + self._draw.choice(("", "?", "?", "?", ".", "!"))
