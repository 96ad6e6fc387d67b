"""Which text looks like a patient's data."""

import pytest

from busaug_core.data.audit.patient_text import patient_text

LIKE = {
    "age": (
        "37 ANOS; 38ANOS; QSE 37 ANOS; BSANOSI; 77ANOS | MAMA DIREITA; 37 años; 45 anni; 52 ans; "
        "61 Jahre; AGE: 54; Age 54; IDADE 43; 49Y; 049Y; 49 YRS; 49 yo; 49 y.o; F/45; 45 / F; 37岁; "
        "年龄: 44; Alter: 61; Wiek 44; 44 lat; yaş: 39"
    ),
    "date": (
        "12/05/2014; 12.05.14; 2014-05-12; 05-12-2014; 12 MAY 2014; 12MAI2014; May 12, 2014; "
        "3 March 2014; 12-MAY-14; 12 de maio de 2014; DOB 1970; D.O.B.; Data Nasc.; geb. 1960; "
        "2014年5月"
    ),
    "identifier": (
        "ID: 4711; ID4711; MRN 12345; PRONTUARIO 998877; 12345678; 123-456-789; 1.2.840.113619.2; "
        "Reg. 00123; PID:A1234; REG N 12345"
    ),
    "name": (
        "NAME: MARIA SILVA; Nome MARIA; PACIENTE: J. SOUZA X; SMITH^JANE; SMITH, JANE; MARIA SILVA; "
        "ANA LIMA; Patient Name: X; Mrs Smith; SRA. SOUZA; Frau Meier; Dr. Meier; Pt: Doe; 姓名: 王"
    ),
}
UNLIKE = (
    "QSEMAMADIR.; MAMA DIREITA | QSE; MAMAESQUERDA | RETROAREOLAR; UQQSUP MAMA DIR.; RT AXILLA; "
    "RIGHT BREAST; LT 3-4; LT5; RTLOQC; aalgaatd nodes; 13.9mm; D 21.6MM 11.3MM; +12.8mm; X14.3mm; "
    "GE | 72; LOGIQ | E9; IMPLANTE; DE PALPACAO; NOD 2; REGIAO CENTRAL / | QSI MAMA DIR.; "
    "2H | MAMA DIR; ESQUERDA QQINTERNOS; REITA QQEXT JUSTAREOLAR; LT RETROAR; MAMA E; 35; 12L-5; "
    "FR 32Hz; MI 0.8; DR 60; Gn 55; 0.53 cm; 10 o'clock; 9:30; MAMA DIR, QSE; RT BREAST, 10 CLOCK; "
    "SAG RAD; LIPOMA; QIE /QQINF; ITA QSE-/QQEXT; HAHA | DIR; UQSUP | PERIAREOLAR; Lesion 2 of 3; "
    "BIRADS 4; 12 MHz; 1.2 x 3.4 x 5.6 cm; B-mode; S5-1; AXILA ESQ; 10/12; POST BIOPSY; BODY; "
    "2 SEPTATED 10MM; LT 3 LAT; PT AX; UPPER OUTER, RIGHT; DECUBITUS 45; MARGIN; SEROMA; ANGLE 60; "
    "4 CM FROM NIPPLE; 5cm FN; RT 2:00 3CMFN; 2.5 MHz 90 dB"
)


@pytest.mark.parametrize("kind", LIKE)
def test_what_may_tell_who_a_patient_is_is_seen_in_many_languages(kind):
    assert [text for text in LIKE[kind].split("; ") if kind not in patient_text(text)] == []


def test_sides_quadrants_measures_and_settings_tell_nothing_of_a_patient():
    assert {text: found for text in UNLIKE.split("; ") if (found := patient_text(text))} == {}
