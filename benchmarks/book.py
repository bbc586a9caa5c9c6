"""The book of every comparison: loans with a client, twelve instalments and three payments each, on PostgreSQL.

The relay reads it by a mapping. The peers read the views `draft` and `position`, which make the same bodies in SQL, so
that none of them has to be taught what a draft is; each then sends what it reads.
"""

from __future__ import annotations

import psycopg

INSTALMENTS = 12
PAYMENTS = 3

_STORY = (
    "Awa sells fish at the market of her town. She buys it from the boats in the morning, and carries it home in"
    " basins. With this loan she buys a cold box, so that what was not sold in the morning is still good in the"
    " evening. "
)

_MAKE = """
CREATE TABLE client (id bigint PRIMARY KEY, client_no text, first_name text, last_name text, sex text,
    changed timestamptz DEFAULT now());
CREATE TABLE loan (id bigint PRIMARY KEY, account text UNIQUE, client_id bigint, status int, amount numeric(19, 2),
    disbursed date, activity int, story text, created timestamptz DEFAULT now(), changed timestamptz DEFAULT now());
CREATE TABLE instalment (loan_id bigint, number int, due date, principal numeric(19, 2), interest numeric(19, 2),
    changed timestamptz DEFAULT now(), PRIMARY KEY (loan_id, number));
CREATE TABLE payment (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, loan_id bigint, paid_on date,
    principal numeric(19, 2), changed timestamptz DEFAULT now());
CREATE VIEW draft AS
    SELECT loan.id, loan.account, loan.changed, json_build_object(
        'entreps', json_build_array(json_build_object('loan_id', loan.account, 'client_id', client.client_no,
            'first_name', client.first_name, 'last_name', client.last_name, 'gender',
            CASE client.sex WHEN 'F' THEN 'female' ELSE 'male' END, 'amount', loan.amount)),
        'currency', 'XOF', 'description', loan.story, 'description_language_id', 1, 'activity_id', loan.activity,
        'location', 'Dakar: Senegal', 'disburse_time', loan.disbursed, 'schedule',
        (SELECT json_agg(json_build_object('date', due, 'principal', principal, 'interest', interest) ORDER BY number)
         FROM instalment WHERE loan_id = loan.id))::text AS body
    FROM loan JOIN client ON client.id = loan.client_id WHERE loan.status = 300;
CREATE VIEW "position" AS
    SELECT loan.id, loan.account AS loan_id, (SELECT coalesce(sum(principal), 0) FROM payment
        WHERE payment.loan_id = loan.id AND paid_on <= current_date)::float8 AS amount
    FROM loan
"""

_FILL = (
    (
        "INSERT INTO client (id, client_no, first_name, last_name, sex) SELECT n, 'C' || lpad(n::text, 8, '0'), 'Awa',"
        " 'Diop', CASE n %% 2 WHEN 0 THEN 'F' ELSE 'M' END FROM generate_series(%(first)s::bigint, %(last)s::bigint) n"
    ),
    (
        "INSERT INTO loan (id, account, client_id, status, amount, disbursed, activity, story) SELECT n,"
        " lpad(n::text, 9, '0'), n, 300, 1200, current_date, 1 + n %% 20, repeat(%(story)s, 4)"
        " FROM generate_series(%(first)s::bigint, %(last)s::bigint) n"
    ),
    (
        "INSERT INTO instalment (loan_id, number, due, principal, interest) SELECT n, i, current_date + 30 * i, 100, 10"
        f" FROM generate_series(%(first)s::bigint, %(last)s::bigint) n, generate_series(1, {INSTALMENTS}) i"
    ),
    (
        "INSERT INTO payment (loan_id, paid_on, principal) SELECT n, current_date - 40 - i, 100"
        f" FROM generate_series(%(first)s::bigint, %(last)s::bigint) n, generate_series(1, {PAYMENTS}) i"
    ),
)

_INDEXES = """
CREATE INDEX ON loan (changed); CREATE INDEX ON client (changed); CREATE INDEX ON instalment (changed);
CREATE INDEX ON payment (loan_id); CREATE INDEX ON payment (changed); ANALYZE
"""

DRAFT = """\
resource: loan_draft
identity: account
source: {table: loan, key: id, changed_at: changed, created_at: created, where: status = 300}
relations:
  client: {table: client, match: {id: client_id}, changed_at: changed}
  schedule: {table: instalment, match: {loan_id: id}, many: true, order_by: number, changed_at: changed}
fields:
  entreps:
    - {loan_id: account, client_id: client.client_no, first_name: client.first_name, last_name: client.last_name,
       gender: {from: client.sex, choose: {F: female, M: male}, else: refuse}, amount: amount}
  currency: {text: XOF}
  description: {from: story, text: true}
  description_language_id: 1
  activity_id: activity
  location: {text: "Dakar: Senegal"}
  disburse_time: disbursed
  schedule: {each: schedule, do: {date: due, principal: principal, interest: interest}}
left_to_the_coordinator: [loanuse, image_encoded, client_waiver_signed, theme_type_id]
"""

REPAYMENT = """\
resource: repayment
identity: account
source:
  {table: loan, key: id, changed_at: changed, created_at: created,
   touched_by: [{table: payment, match: {loan_id: id}, changed_at: changed}]}
relations:
  repaid:
    sql: SELECT loan_id, SUM(principal) AS principal FROM payment WHERE paid_on <= :cutoff GROUP BY loan_id
    match: {loan_id: id}
    optional: true
fields:
  loan_id: account
  amount: repaid.principal or 0
checks: {principal: amount}
"""

MAPPINGS = {"loan_draft": DRAFT, "repayment": REPAYMENT}


def make(url: str, loans: int) -> None:
    """Write it."""
    with psycopg.connect(url, autocommit=True) as teller:
        for sql in _MAKE.split(";\n"):
            teller.execute(sql)
        add(teller, first=1, last=loans)
        for sql in _INDEXES.split(";"):
            teller.execute(sql)


def add(teller: psycopg.Connection[tuple[object, ...]], *, first: int, last: int) -> None:
    """Open loans with these numbers, in one transaction."""
    with teller.transaction():
        for sql in _FILL:
            teller.execute(sql, {"first": first, "last": last, "story": _STORY})


def account(number: int) -> str:
    """The id of a loan."""
    return f"{number:09}"
