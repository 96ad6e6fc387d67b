"""Which burnt-in text may tell who the patient is: an age, a date, an identifier, a name.

The words are those of scanners and their users in English, Portuguese, Spanish, Italian, French, German, Polish,
Turkish and Chinese, without accents and in capitals. What reads text often drops the spaces between words and takes
some digits for letters; better one tag too many than a name that nobody sees.
"""

import re
import unicodedata

DIGITS = r"[0-9OQDILSZBG]{1,3}"
"""Up to three digits, or what they are misread as."""
GAP = r"[\s:.,|#=-]*"
MONTH = r"(JAN|FEB|FEV|MAR|APR|ABR|AVR|MA[IY]|JU[NL]|AUG|AGO|AOU|SEP|SET|OCT|OUT|OKT|NOV|DE[CZ]|DIC)"
TITLE = r"MRS?|MISS|SRA|SIGRA|FRAU|HERR|MME|MLLE"
PLACE = (
    r"MAMA|DIR|ESQ|QS[EI]|QI[EI]|U?QQ?(SUP|INF|EXT|INT)|RT|LT|LEFT|RIGHT|UPPER|LOWER|INNER|OUTER|AX|BREAST|NOD|MASS|"
    r"CYST|LESION|REGI|CENTRAL|AREOLAR|CLOCK|RAD|TRANS|LONG"
)
"""How words of a scan's place begin, which may stand before a comma as a surname does."""
GIVEN = (
    r"MARIA|ANA|ANNA|JOANA|LUCIA|LUISA|PAULA|CARLA|SANDRA|CLAUDIA|ADRIANA|FERNANDA|JULIANA|MARCIA|PATRICIA|ROSA|TERESA|"
    r"FRANCISCA|ANTONIA|BEATRIZ|CARMEN|ISABEL|CRISTINA|LAURA|ELENA|SILVIA|GIULIA|FRANCESCA|MARIE|SOPHIE|NATHALIE|"
    r"CATHERINE|MARY|JANE|SUSAN|LINDA|BARBARA|ELIZABETH|JENNIFER|SARAH|KAREN|NANCY|MARGARET|SABINE|PETRA|MONIKA|URSULA|"
    r"KATARZYNA|MALGORZATA|AGNIESZKA|FATMA|AYSE|EMINE|HATICE|FATIMA|AISHA|AMINA|MONA|NADIA"
)

RULES = {
    "age": re.compile(
        rf"{DIGITS}\s*(ANOS|ANNI|JAHRE)|(?<!\d)\d{{1,3}}\s*(ANS\b|YRS?\b|YEARS?\b|Y\.?O\b|Y\b|YAS\b|岁|歲)|\b\d\d\s*LAT\b"
        rf"|\b(AGE|IDADE|EDAD|ETA|ALTER|WIEK|YAS)\b{GAP}\d{{1,3}}(?!\d)|(年龄|年齡){GAP}\d|\b[FM]\s*/\s*\d{{2}}\b|\b\d{{2}}\s*/\s*[FM]\b"
    ),
    "date": re.compile(
        r"(?<!\d)(0?[1-9]|[12]\d|3[01])[-/.](0?[1-9]|[12]\d|3[01])[-/.](19|20)?\d\d(?!\d)"
        r"|(?<!\d)(19|20)\d\d[-/.](0?[1-9]|1[0-2])[-/.]\d{1,2}(?!\d)"
        rf"|\d{{1,2}}[-/. ]*{MONTH}[-/. ]*\d\d|{MONTH}[A-Z]{{0,6}}([-/. ]|DE)*(\d{{1,2}},? *)?(19|20)\d\d(?!\d)"
        r"|(19|20)\d\d\s*年|\bD\.?O\.?B\b|\bNASC|NACIM|NASCITA|NAISSANCE|BIRTH|\bGEB(OREN|\.|\b)|生日"
    ),
    "identifier": re.compile(
        rf"(?<!\d)\d{{6,}}(?!\d)|\d{{3}}[-.]\d{{3}}[-.]\d{{2,}}|\d(\.\d+){{4,}}"
        rf"|\b(ID|PID|MRN|NHC|ACC|ACCESSION|PRONTUARIO|REG|REGISTRO|CPF|HC|PATIENTEN-?NR|编号){GAP}(N[RO]?)?{GAP}[A-Z]{{0,3}}\d{{3}}"
    ),
    "name": re.compile(
        rf"\b(NAME|NOME|NOMBRE|NOM|PACIENTE|PATIENT|PAZIENTE|PATIENTIN|PAT|HASTA|IMIE)\b{GAP}[A-Z]|\bPT\s*:\s*[A-Z]|姓名"
        rf"|\b({TITLE})\b\.?\s*[A-Z]{{3}}|\bDRA?\.\s*[A-Z]{{3}}|[A-Z]{{2,}}\^[A-Z]+"
        rf"|\b(?!({PLACE}))[A-Z]{{3,}}, ?(?!({PLACE}))[A-Z]{{2,}}|\b({GIVEN})\b"
    ),
}
"""What each kind looks like, in the text as `plain` gives it."""


def patient_text(text: str) -> list[str]:
    """The kinds of a patient's data that a text seems to hold, of `RULES`; empty where it seems to hold none."""
    return [kind for kind, rule in RULES.items() if rule.search(plain(text))]


def plain(text: str) -> str:
    """A text in capitals and without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.upper()) if not unicodedata.combining(c))
