"""The language of a text, by its script and its most frequent words. Pure: no model, no download.

The language selects the stemming dictionary: if two languages cannot be distinguished, the caller's setting decides.
"""

import re
from collections import Counter, defaultdict
from typing import Final

SAMPLE_CHARACTERS: Final = 8_000
HITS_MIN: Final = 3
LEAD: Final = 1.25
"""So many times as often as those of the second language must the words of the first appear."""
SHARE_MIN: Final = 0.08
"""Of the words of a text that are function words, where it is of that language: in most it is a third."""
UNSTEMMED: Final = "simple"

_SCRIPTS: Final = {
    "latin": re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"),
    "cyrillic": re.compile("[\u0400-\u052f]"),
    "greek": re.compile("[\u0370-\u03ff\u1f00-\u1fff]"),
    "arabic": re.compile("[\u0620-\u064a\u0671-\u06d3]"),
    "devanagari": re.compile("[\u0904-\u0939\u093e-\u094d]"),
    "tamil": re.compile("[\u0b82-\u0bd7]"),
    "armenian": re.compile("[\u0531-\u0587]"),
    "simple": re.compile(
        "[\u0590-\u05ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
    ),
}
_BY_SCRIPT: Final = {"greek": "greek", "tamil": "tamil", "armenian": "armenian", "simple": UNSTEMMED}
_WORD: Final = re.compile(r"[^\W\d_]+")
_PERSIAN: Final = re.compile("[\u067e\u0686\u06a9\u06af\u06cc\u0679\u06d2]")
_SERBIAN: Final = re.compile("[\u0452\u0459\u045a\u045b\u045f\u0458]")
_UKRAINIAN: Final = re.compile("[\u0456\u0457\u0454\u0491\u045e]")

_FREQUENT: Final = {
    "english": "the of and to in is that it was for on are with as be at this have from or by not but which they their "
    "were been has an will would there what when who how your you we can all if more does about than its should into",
    "german": "der die das und ist nicht ein eine einer eines einem einen zu den dem des mit von für auf im sich auch "
    "als bei nach wird werden wurde aus oder sind durch wie wenn über kann nur noch zum zur hat war es er sie dass "
    "welche wer wann wo was",
    "french": "le la les des et est dans une un du que qui pour pas sur au aux avec par plus sont ce cette ces il elle "
    "nous vous ont été être mais ou leur leurs dont comme son sa ses se ne quel quelle en de",
    "spanish": "el la los las de que y en un una por con para es se no del al lo como más pero sus su este esta son "
    "fue ha entre cuando muy sin sobre también ser hasta desde qué cuál cómo quién",
    "portuguese": "o a os as de que e do da dos das em um uma para com não por no na nos nas se mais como mas foi ao "
    "pelo pela são ou ser seu sua também quando muito já está qual quem",
    "italian": "il lo la i gli le di che e è un una per con non del della dei delle nel nella si da al alla sono come "
    "più anche ma suo sua questo questa essere ha o quale chi degli dalla",
    "dutch": "de het een van en in is dat op te zijn voor met die niet aan er om ook als dan bij door naar uit maar of "
    "wordt worden hij ze werd was kan over zich meer heeft welke wie wat deze dit",
    "danish": "og i at det er en til af på for med den de ikke der som et har var han hun vi jeg fra eller hvad hvis "
    "også blev bliver kan skal men ved om efter være hvor denne nogle sig meget hvem",
    "norwegian": "og i det er en til av på for med den de ikke som et har var han hun vi jeg fra eller hva hvis også "
    "ble blir kan skal men ved om etter være hvor denne noen seg mye hvem ei",
    "swedish": "och i att det är en till av på för med den de inte som ett har var han hon vi jag från eller vad om "
    "också blev blir kan ska men vid efter vara där denna några sig mycket vem när",
    "finnish": "ja on ei että se hän oli ovat mutta kuin myös joka jotka tai niin kun hänen mukaan ole sen sekä jos "
    "vain voi siitä tämä mitä kuka missä jonka olla ollut",
    "hungarian": "a az és hogy nem is egy ez meg van volt de csak már mint még el ki ha vagy szerint kell lehet azt "
    "ezt amely aki után között mi mely milyen",
    "turkish": "ve bir bu da de için ile olarak olan en daha gibi çok kadar ne sonra her olduğu ya ki mi ama veya göre "
    "değil tarafından ise hangi kim nasıl oldu",  # noqa: RUF001 — Turkish
    "romanian": "și în de la a cu pe din nu este care un o să se mai că pentru sunt al ale fost au sau prin după ce "
    "cel lui fi această acest între dar cum ar unde cine",
    "catalan": "el la els les de i que en un una per amb del dels és no al als es com més però va seva seu aquest "
    "aquesta són ha també entre quan sobre què quin qui han",
    "basque": "eta da ez bat du ere dira zen izan dute bere baina hau edo egin den diren horren beste zuen ditu zuten "
    "nola zer nor arte bezala",
    "indonesian": "yang dan di dari untuk dengan pada ini itu dalam adalah tidak akan oleh ke sebagai juga ada atau "
    "telah mereka dapat karena saat tersebut bisa lebih apa siapa bagaimana",
    "irish": "an na agus is a ar go i bhí ag le do sé sí atá nach leis seo sin chun ó mar níl tá raibh féin cad conas",
    "lithuanian": "ir yra kad į su tai iš ne bei apie kaip bet buvo jis ji nuo po už per dėl arba kuris kuri gali taip "
    "jo jų kas",
    "estonian": "ja on ei et see ta oli mis kui aga ka oma ning või selle kes nad seda ole välja veel pärast kas "
    "olid ma siis kuidas",
    "serbian": "je i u na se da su za od sa kao što koji koja koje nije bio bila ili ali kako iz po do biti još samo "
    "ovaj ova kada",
    "polish": "i w na z do nie się że jest to o jak po ale od za przez co dla są tym był oraz ich może które który",
    "czech": "a v se na je že s z do o k i za by ale jako po jsou tak jeho který která které nebo při pro byl",
    "vietnamese": "và của là các có được trong cho một những với không này đã người để từ năm khi như về đến tại",
}
"""Polish, Czech and Vietnamese have no dictionary: they are here so that they are not detected as another language."""
_UNKNOWN: Final = frozenset({"polish", "czech", "vietnamese"})


def _weights() -> dict[str, tuple[float, tuple[str, ...]]]:
    """Each word with its languages; one that many languages have says little."""
    found: dict[str, list[str]] = {}
    for language, listed in _FREQUENT.items():
        for word in dict.fromkeys(listed.split()):
            found.setdefault(word, []).append(language)
    return {word: (1 / len(languages), tuple(languages)) for word, languages in found.items()}


_WEIGHTS: Final = _weights()


def language_of(text: str, default: str) -> str:
    """One of `LANGUAGES`; `default` where the text is too short, or could be of several. `simple` stays `simple`: it is
    chosen by those who want no stemming."""
    if default == UNSTEMMED:
        return default
    sample = text[:SAMPLE_CHARACTERS]
    if sample.isascii():
        return _of_latin(sample, default)
    letters = {script: len(pattern.findall(sample)) for script, pattern in _SCRIPTS.items()}
    script = max(letters, key=letters.__getitem__)
    if not letters[script]:
        return default
    match script:
        case "latin":
            return _of_latin(sample, default)
        case "cyrillic":
            return _of_cyrillic(sample)
        case "arabic":
            return UNSTEMMED if len(_PERSIAN.findall(sample)) * 50 > letters[script] else "arabic"
        case "devanagari":
            return "nepali" if default == "nepali" else "hindi"
        case _:
            return _BY_SCRIPT[script] if script != "simple" or default != "yiddish" else default


def _of_cyrillic(sample: str) -> str:
    low = sample.lower()
    if _SERBIAN.search(low):
        return "serbian"
    return UNSTEMMED if _UKRAINIAN.search(low) else "russian"


def _of_latin(sample: str, default: str) -> str:
    words = _WORD.findall(sample.lower())
    scores: defaultdict[str, float] = defaultdict(float)
    hits: Counter[str] = Counter()
    for word, times in Counter(words).items():
        if (found := _WEIGHTS.get(word)) is not None:
            for language in found[1]:
                scores[language] += found[0] * times
                hits[language] += times
    if not scores:
        return default
    (first, score), *others = sorted(scores.items(), key=lambda one: -one[1])
    second = others[0][1] if others else 0.0
    if hits[first] < HITS_MIN or hits[first] < SHARE_MIN * len(words) or score < LEAD * second:
        return default
    return UNSTEMMED if first in _UNKNOWN else first
