"""The ledger's tables. Times are milliseconds since 1970-01-01 UTC; addresses are sealed bytes (seal.py).

Kinds of tables, and what may be done to their rows:

* evidence, only ever inserted into (triggers refuse the rest), each row covered by an entry (proof.py): `entry`, `receipt`,
  `reply`, `asked`, `called`, `wording`, `alert_raw`, `refused`, `address`, `spotcheck`, `drawn`, `spotcheck_answer`
* projections that can be refolded from evidence: `delivery.state`, `batch`, `rule`, `alert`
* the county as it is now: `roster`, `person`, `post`, `target`, `operator`, `book`, `condition`
* the machinery: `lease`, `breaker`, `gap`, `dialled`, `call_number`, `inbox`, `report`, `callout`, `chain`, `anchor`
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only makes a column the row id when it is spelled INTEGER; PostgreSQL needs 64 bits.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Millis = sa.BigInteger


def _marks() -> sa.Column[bytes]:
    """Four bytes for each other column, to find the one that was changed (proof.py). In the tables of evidence."""
    return sa.Column("marks", sa.LargeBinary)


alert = sa.Table(
    "alert",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("event_key", sa.Text, nullable=False),
    sa.Column("sender", sa.Text, nullable=False),
    sa.Column("identifier", sa.Text, nullable=False),
    sa.Column("sender_code", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),  # the configured source it came by
    sa.Column("form", sa.Text, nullable=False),
    sa.Column("msg_type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("event_code", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("headline", sa.Text, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("sent", Millis, nullable=False),
    sa.Column("received", Millis, nullable=False),
    sa.Column("expires", Millis, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # ledger/alerts.py: AlertState
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("stand_down", sa.Boolean, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("doubt", sa.Text, nullable=False),  # resend | hold
    sa.Column("drafted_by", sa.Text, nullable=False),
    sa.Column("released_by", sa.Text, nullable=False, server_default=""),
    sa.Column("to_review", sa.Boolean, nullable=False, server_default=sa.false()),  # released by one person alone
    sa.Column("approve_by", Millis),  # until when somebody must have approved
    sa.Column("superseded_by", Id),
    sa.Column("closed", Millis),
    sa.Column("understood", sa.Text, nullable=False),  # JSON: repairs, coverage, findings, the frozen plan
    sa.Column("covered", Millis),  # since it was over and an entry covers all of its deliveries
    sa.UniqueConstraint("sender", "identifier"),
    sa.Index("ix_alert_event_key", "event_key"),
    sa.Index("ix_alert_state", "state"),
    sa.Index("ix_alert_uncovered", "id", sqlite_where=sa.text("covered IS NULL"), postgresql_where=sa.text("covered IS NULL")),
)

alert_raw = sa.Table(
    "alert_raw",
    metadata,
    sa.Column("alert_id", Id, primary_key=True, autoincrement=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    _marks(),
)

refused = sa.Table(
    "refused",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("received", Millis, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),  # at most the size cap; `size` and sha256 are of the whole
    sa.Column("reason", sa.Text, nullable=False),
    _marks(),
)

alert_region = sa.Table(
    "alert_region",
    metadata,
    sa.Column("alert_id", Id, primary_key=True, autoincrement=False),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("first", sa.Boolean, nullable=False),  # has a risk tag that the hazard concerns
)

wording = sa.Table(
    "wording",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("alert_id", Id, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("audience", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("units", sa.Integer, nullable=False),
    sa.Column("template", sa.Text, nullable=False),
    sa.Column("notes", sa.Text, nullable=False),  # JSON list
    _marks(),
    sa.UniqueConstraint("alert_id", "channel", "audience", "purpose", "language"),
)

rule = sa.Table(
    "rule",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("alert_id", Id, nullable=False),
    sa.Column("n", sa.Integer, nullable=False),  # the order of planning within the alert
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("roles", sa.Text, nullable=False),  # JSON list
    sa.Column("ranks", sa.Text, nullable=False),  # JSON list
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("audience", sa.Text, nullable=False),
    sa.Column("selection", sa.Text, nullable=False),  # ledger/fanout.py: Selection
    sa.Column("from_channel", sa.Text, nullable=False),  # reached by this channel, told by `channel`
    sa.Column("first", sa.Boolean),  # only regions with (without) a matching risk tag; NULL = all
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("within", sa.Integer, nullable=False),  # seconds
    sa.Column("answer_within", sa.Integer),  # seconds
    sa.Column("wording_id", Id, nullable=False),
    sa.Column("approvers", sa.Text, nullable=False),  # JSON list of operator roles; [] = free
    sa.Column("otherwise", sa.Text, nullable=False, server_default="[]"),  # JSON list: the plan's next channels, in order
    sa.Column("gathers", sa.Boolean, nullable=False, server_default=sa.false()),  # joins an unsent batch of the same words
    sa.Column("state", sa.Text, nullable=False),  # held | owed | planned | withdrawn
    sa.Column("batch_size", sa.Integer, nullable=False),
    sa.Column("cursor_region", sa.Text, nullable=False, server_default=""),
    sa.Column("cursor_id", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("deliveries", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("planned", Millis),
    sa.UniqueConstraint("alert_id", "n"),
    sa.Index(
        "ix_rule_state_owed",
        "lane",
        "id",
        sqlite_where=sa.text("state = 'owed'"),
        postgresql_where=sa.text("state = 'owed'"),
    ),
)

batch = sa.Table(
    "batch",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("alert_id", Id, nullable=False),
    sa.Column("rule_id", Id, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("wording_id", Id, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # of every delivery that has no state of its own
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due", Millis),  # when a worker may claim it
    sa.Column("rung", Millis),  # when it was last rung
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),  # an answer with an old number changes nothing
    sa.Column("holder", sa.Text, nullable=False, server_default=""),
    sa.Column("lease", Millis),  # by the database's clock
    sa.Column("progress", sa.Integer, nullable=False, server_default="0"),  # calls up to this seq have been started
    sa.Column("call_from", sa.Integer, nullable=False, server_default="0"),  # the call under way begins at this seq
    sa.Column("peer", sa.Text, nullable=False, server_default=""),
    sa.Column("started", Millis),
    sa.Column("ended", Millis),
    sa.Column("doubt_due", Millis),  # when the deliveries in doubt are decided
    sa.Column("doubled", sa.Boolean, nullable=False, server_default=sa.false()),  # sent again out of doubt
    sa.Column("deadline", Millis),  # until when the plan wants it handed over; then its next channel is used
    sa.Column("only_peer", sa.Text, nullable=False, server_default=""),  # it may be known there: only there may it go again
    sa.Column("asked", Millis),  # when the far end was last asked what became of it
    sa.Column("gathered", sa.Boolean, nullable=False, server_default=sa.false()),  # holds deliveries of several rules
    sa.Column("covered", Millis),  # since an entry covers all of its deliveries
    sa.Column("first_region", sa.Text),  # its deliveries' regions lie between these; NULL: who looks for one looks into it
    sa.Column("last_region", sa.Text),
    sa.Index("ix_batch_alert_id", "alert_id"),
    sa.Index("ix_batch_rule_id", "rule_id"),
    sa.Index(
        "ix_batch_owed",
        "lane",
        "due",
        sqlite_where=sa.text("state IN ('planned', 'deferred')"),
        postgresql_where=sa.text("state IN ('planned', 'deferred')"),
    ),
    sa.Index(
        "ix_batch_sending",
        "lease",
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    ),
    sa.Index(
        "ix_batch_doubt",
        "doubt_due",
        sqlite_where=sa.text("doubt_due IS NOT NULL"),
        postgresql_where=sa.text("doubt_due IS NOT NULL"),
    ),
)

# Spelled out, not bound: SQLite takes the index of what is owed only for the very words of its condition.
OWED: sa.BindParameter[tuple[str, ...]] = sa.bindparam(
    "owed", ("planned", "deferred"), expanding=True, literal_execute=True, unique=True
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("batch_id", Id, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("alert_id", Id, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("post_id", Id),
    sa.Column("address_id", Id, nullable=False),  # addresses never change: a later roster does not rewrite this
    sa.Column("rule_id", Id),  # only where its batch gathered it from another rule
    sa.Column("synthetic", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text),  # NULL: as the batch
    sa.Column("reason", sa.Text),
    # Nobody is told twice. By number, not by sealed bytes: those are random, and a thousand of them dirty a thousand pages.
    sa.UniqueConstraint("alert_id", "channel", "purpose", "address_id"),
    sa.Index(
        "ix_delivery_in_doubt",
        "address_id",
        sqlite_where=sa.text("state = 'in_doubt'"),
        postgresql_where=sa.text("state = 'in_doubt'"),
    ),
    # For auditors. Residents have no post: half a million inserts do not touch it.
    sa.Index(
        "ix_delivery_post_id",
        "post_id",
        "alert_id",
        sqlite_where=sa.text("post_id IS NOT NULL"),
        postgresql_where=sa.text("post_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

receipt = sa.Table(
    "receipt",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("batch_id", Id, nullable=False),
    sa.Column("first_seq", sa.Integer, nullable=False),  # one receipt may speak for a run of deliveries
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),  # answer | report | sweep | gateway
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("at", Millis),  # when the far end says it happened
    sa.Column("recorded", Millis, nullable=False),
    _marks(),
    sa.Index("ix_receipt_batch_id", "batch_id"),
    sa.Index("ix_receipt_recorded", "recorded", "batch_id"),
    sa.Index(
        "ix_receipt_ref",
        "peer",
        "ref",
        sqlite_where=sa.text("origin = 'answer' AND ref <> ''"),
        postgresql_where=sa.text("origin = 'answer' AND ref <> ''"),
    ),
)

chain = sa.Table(
    "chain",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),  # "house", or "alert:17"
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("mac", sa.Text, nullable=False, server_default=""),  # of all of it: without the key no tail is cut
)

entry = sa.Table(
    "entry",
    metadata,
    sa.Column("chain", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Millis, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # canonical JSON
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("mac", sa.Text, nullable=False, server_default=""),  # of the hash, under a key that is not in the database
    _marks(),
    sa.Index("ix_entry_at", "at", "chain", "n"),
)

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("received", Millis, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("headers", sa.Text, nullable=False),  # JSON, the few a provider signs with
    sa.Column("body", sa.LargeBinary, nullable=False),  # sealed: it holds numbers
    sa.Column("state", sa.Text, nullable=False),  # kept | worked | bad
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("worked", Millis),
    sa.Index("ix_inbox_kept", "id", sqlite_where=sa.text("state = 'kept'"), postgresql_where=sa.text("state = 'kept'")),
)

report = sa.Table(  # what a provider said of something that we do not know (yet)
    "report",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("inbox_id", Id, nullable=False),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("address", sa.LargeBinary, nullable=False),  # b"": not by address
    sa.Column("region", sa.Text, nullable=False, server_default=""),  # "": not by region
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("at", Millis),
    sa.Column("submitted", Millis),
    sa.Column("keep_until", Millis, nullable=False),
    sa.Index("ix_report_peer_ref", "peer", "ref"),
    sa.Index("ix_report_peer_address", "peer", "address"),
)

reply = sa.Table(  # what persons and receiving systems said back: acknowledgements, measures, refusals, anything else
    "reply",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("alert_id", Id),  # NULL: of no alert that we could tell
    sa.Column("batch_id", Id),  # the delivery that it answers
    sa.Column("seq", sa.Integer),
    sa.Column("person_id", Id),
    sa.Column("verb", sa.Text, nullable=False),  # channels/base.py: Verb
    sa.Column("how", sa.Text, nullable=False),  # the channel, "link", or "entry" for a duty officer's
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("said", sa.LargeBinary),  # sealed: people write names into it; NULL: erased
    sa.Column("counts", sa.Text, nullable=False),  # JSON: households, without_phone, vulnerable told at the door
    sa.Column("who", sa.Text, nullable=False),  # the operator who entered it, else ""
    sa.Column("settled", sa.Integer, nullable=False),  # how many duties it answered
    sa.Column("flag", sa.Text, nullable=False),  # why it answered none
    sa.Column("ref", sa.Text, nullable=False, server_default=""),  # the far end's own, where it named one
    sa.Column("address", sa.LargeBinary),  # sealed; b"": it named none; NULL: erased
    sa.Column("waits_until", Millis),  # its reference is of nothing yet: it is looked for again until then
    sa.Column("again_of", Id),  # what was found of that earlier row
    sa.Column("at", Millis),  # when they say it was
    sa.Column("recorded", Millis, nullable=False),
    sa.Column("salt", sa.LargeBinary),  # NULL: erased
    sa.Column("commitment", sa.LargeBinary),  # to what was said and from which address; what digests are over
    _marks(),
    sa.Index("ix_reply_alert_id", "alert_id"),
    sa.Index("ix_reply_person_id", "person_id"),
    sa.Index("ix_reply_recorded", "recorded"),
    sa.Index(
        "ix_reply_early",
        "waits_until",
        sqlite_where=sa.text("waits_until IS NOT NULL"),
        postgresql_where=sa.text("waits_until IS NOT NULL"),
    ),
    sa.Index(
        "ix_reply_again_of",
        "again_of",
        sqlite_where=sa.text("again_of IS NOT NULL"),
        postgresql_where=sa.text("again_of IS NOT NULL"),
    ),
)

condition = sa.Table(  # how a far end, or one of its systems, stands
    "condition",
    metadata,
    sa.Column("peer", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, primary_key=True),  # of a place, so it is not sealed; "" = the far end itself
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("standing", sa.Text, nullable=False),  # channels/base.py: Standing
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("at", Millis),  # when it says it was
    sa.Column("heard", Millis, nullable=False),
)

gap = sa.Table(  # far ends that want a pause between any two calls
    "gap",
    metadata,
    sa.Column("peer", sa.Text, primary_key=True),
    sa.Column("free_at", Millis, nullable=False),
)

dialled = sa.Table(  # calls to one number, for the budget that providers allow each callee
    "dialled",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("address_id", Id, nullable=False),
    sa.Column("at", Millis, nullable=False),
    sa.Index("ix_dialled_address_id", "address_id", "at"),
)

call_number = sa.Table(  # the numbers that a far end knows our calls by, kept over all attempts
    "call_number",
    metadata,
    sa.Column("peer", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, primary_key=True),  # YYYY-MM-DD in Beijing
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("batch_id", Id, nullable=False),
    sa.Column("first_seq", sa.Integer, nullable=False),
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("at", Millis, nullable=False),
    sa.UniqueConstraint("batch_id", "first_seq", "peer"),
)

address = sa.Table(  # each once, whoever has it; a new number is a new row
    "address",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, unique=True),  # NULL: erased
    sa.Column("salt", sa.LargeBinary),  # NULL: erased
    sa.Column("commitment", sa.LargeBinary),  # to the sealed bytes; what digests are over
    _marks(),
)

person = sa.Table(
    "person",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),  # person_id of the roster
    sa.Column("name", sa.LargeBinary),  # sealed; NULL: erased
    sa.Column("synthetic", sa.Boolean, nullable=False),
    sa.Column("test", sa.Boolean, nullable=False),
    sa.Column("ended", Millis),  # no longer in the roster; the row stays, deliveries point to its posts
)

post = sa.Table(
    "post",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("person_id", Id, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("rank", sa.Text, nullable=False),
    sa.Column("ended", Millis),
    sa.UniqueConstraint("person_id", "role", "region"),
    sa.Index("ix_post_role_region_id", "role", "region", "id"),
)

roster = sa.Table(  # one import; the newest that is complete is in force
    "roster",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("began", Millis, nullable=False),
    sa.Column("imported", Millis),  # NULL: not complete
    sa.Column("in_force", sa.Boolean, nullable=False),
    sa.Column("imported_by", sa.Text, nullable=False),
)

target = sa.Table(
    "target",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("roster_id", Id, nullable=False),
    sa.Column("audience", sa.Text, nullable=False),  # post | resident | place | tester
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),  # "" for a person's: their posts have regions
    sa.Column("person_id", Id),
    sa.Column("address_id", Id, nullable=False),
    sa.Column("synthetic", sa.Boolean, nullable=False),
    sa.Column("test", sa.Boolean, nullable=False),
    # No index begins with the roster: SQLite, which knows no statistics, would walk all of its targets to find a few posts'.
    sa.Index(
        "ix_target_of_person",
        "person_id",
        "channel",
        "roster_id",
        sqlite_where=sa.text("person_id IS NOT NULL"),
        postgresql_where=sa.text("person_id IS NOT NULL"),
    ),
    sa.Index("ix_target_in_region", "audience", "channel", "roster_id", "region", "id"),
)

operator = sa.Table(
    "operator",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("roles", sa.Text, nullable=False),  # JSON list
    sa.Column("pin", sa.Text, nullable=False),  # scrypt, salted
    sa.Column("added", Millis, nullable=False),
    sa.Column("disabled", Millis),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("locked_until", Millis),
)

book = sa.Table(  # plans, regions and roles as imported; the newest of a kind is in force
    "book",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("files", sa.Text, nullable=False),  # JSON: file name → text
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("imported", Millis, nullable=False),
    sa.Column("imported_by", sa.Text, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", Millis, nullable=False),  # by the database's clock
    sa.Column("fence", sa.Integer, nullable=False),
)

breaker = sa.Table(
    "breaker",
    metadata,
    sa.Column("peer", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
    sa.Column("open_until", Millis, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", Millis, nullable=False),
)

callout = sa.Table(
    "callout",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("alert_id", Id, nullable=False),
    # release: somebody must approve; acknowledge: a post must answer; measures: it must report what it has done
    sa.Column("duty", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("post_id", Id),
    sa.Column("state", sa.Text, nullable=False),  # open | answered | closed
    sa.Column("step", sa.Text, nullable=False),  # how far it has come: the rung of its ladder
    sa.Column("opened", Millis, nullable=False),
    sa.Column("due", Millis, nullable=False),  # an answer is owed until then
    sa.Column("next_step", Millis),  # when the next step starts
    sa.Column("answered", Millis),
    sa.Column("answered_by", sa.Text, nullable=False, server_default=""),
    sa.Column("how", sa.Text, nullable=False, server_default=""),
    sa.Column("rule_id", Id),  # of the plan, by which it is owed
    sa.Column("asked", sa.Integer, nullable=False, server_default="0"),  # persons on this rung who can be called
    sa.Column("calls", sa.Integer, nullable=False, server_default="0"),  # made on this rung
    sa.Column("last_call", Millis),
    sa.Column("measures_due", Millis),  # until when the second closure is owed
    sa.Index("uq_callout_alert_id_duty_post_id", "alert_id", "duty", "post_id", unique=True),
    sa.Index("ix_callout_post_id", "post_id"),
    sa.Index(
        "ix_callout_open",
        "next_step",
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    ),
)

asked = sa.Table(  # who was asked for a silent post, on which rung
    "asked",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("callout_id", Id, nullable=False),
    sa.Column("post_id", Id, nullable=False),
    sa.Column("rung", sa.Text, nullable=False),
    sa.Column("at", Millis, nullable=False),
    _marks(),
    sa.UniqueConstraint("callout_id", "post_id", "rung"),
    sa.Index("ix_asked_post_id", "post_id"),
)

called = sa.Table(  # which calls were made for which callouts: one call may be for several
    "called",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("callout_id", Id, nullable=False),
    sa.Column("batch_id", Id, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("post_id", Id, nullable=False),
    sa.Column("rung", sa.Text, nullable=False),
    sa.Column("at", Millis, nullable=False),
    _marks(),
    sa.UniqueConstraint("callout_id", "batch_id", "seq"),
    sa.Index("ix_called_batch_id", "batch_id", "seq"),
)

anchor = sa.Table(  # the heads of the chains as they are written down outside this host
    "anchor",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=False),  # its number
    sa.Column("at", Millis, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # the document, as it leaves
    sa.Column("left_by", sa.Text, nullable=False),  # JSON list: the ways by which it has left already
    sa.Column("left_at", Millis),  # since it has left by all of them
)

spotcheck = sa.Table(  # 六问: one draw
    "spotcheck",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("at", Millis, nullable=False),
    sa.Column("who", sa.Text, nullable=False),  # the operator who drew
    sa.Column("alert_id", Id),  # NULL: of a region and roles, set against no alert
    sa.Column("region", sa.Text, nullable=False),  # "" = everywhere
    sa.Column("roles", sa.Text, nullable=False),  # JSON list; [] = all
    sa.Column("strata", sa.Text, nullable=False),  # town | none
    sa.Column("size", sa.Integer, nullable=False),  # as asked for
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("frame", sa.Text, nullable=False),  # spotcheck/draw.py: frame_text
    sa.Column("frame_size", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),  # of `frame`
    sa.Column("version", sa.Text, nullable=False),  # of the questionnaire
    sa.Column("questions", sa.Text, nullable=False),  # its file, frozen
    _marks(),
    sa.Index("ix_spotcheck_alert_id", "alert_id"),
)

drawn = sa.Table(  # who is asked; and who could not be drawn, with the reason
    "drawn",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spotcheck_id", Id, nullable=False),
    sa.Column("n", sa.Integer, nullable=False),  # the number on the sheet; 0 = not drawn
    sa.Column("reason", sa.Text, nullable=False),  # of those not drawn: no_number | left | vacant
    sa.Column("person_id", Id),  # NULL: vacant
    sa.Column("post_id", Id),
    sa.Column("role", sa.Text, nullable=False),  # as it was then
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("town", sa.Text, nullable=False),  # the stratum: a town's code, or the county's
    _marks(),
    sa.Index("ix_drawn_spotcheck_id", "spotcheck_id", "n"),
)

spotcheck_answer = sa.Table(  # what somebody who was drawn said; a correction is a new row
    "spotcheck_answer",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spotcheck_id", Id, nullable=False),
    sa.Column("drawn_id", Id, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),  # 1, and one more each time that they are asked again
    sa.Column("outcome", sa.Text, nullable=False),  # answered | not_reached | refused
    sa.Column("answers", sa.Text, nullable=False),  # JSON: question → answer; of texts only that there is one
    sa.Column("said", sa.LargeBinary),  # sealed: checker, note, texts; NULL: erased
    sa.Column("way", sa.Text, nullable=False),  # phone | visit
    sa.Column("at", Millis, nullable=False),  # when they were asked
    sa.Column("who", sa.Text, nullable=False),  # the operator who entered it
    sa.Column("supersedes", Id),  # the row that this one corrects
    sa.Column("recorded", Millis, nullable=False),
    sa.Column("salt", sa.LargeBinary),  # NULL: erased
    sa.Column("commitment", sa.LargeBinary),  # to what was said; what digests are over
    _marks(),
    sa.Index("ix_spotcheck_answer_spotcheck_id", "spotcheck_id"),
)

EVIDENCE = (
    "entry",
    "receipt",
    "reply",
    "asked",
    "called",
    "wording",
    "alert_raw",
    "refused",
    "address",
    "spotcheck",
    "drawn",
    "spotcheck_answer",
)  # only ever inserted into
