CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.clock_steps (
    number bigint NOT NULL,
    machine character varying(64) NOT NULL,
    offset_ms bigint NOT NULL,
    since_ms bigint NOT NULL
);

CREATE SEQUENCE public.clock_steps_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.clock_steps_number_seq OWNED BY public.clock_steps.number;

CREATE TABLE public.intents (
    number bigint NOT NULL,
    strategy character varying(1020) NOT NULL,
    intent_id character varying(1020) NOT NULL,
    generation integer NOT NULL,
    version integer NOT NULL,
    has_message_id boolean NOT NULL,
    digest bytea NOT NULL,
    connector character varying(255) NOT NULL,
    action character varying(32) NOT NULL,
    client_order_id character varying(1020),
    origin_user character varying(1020),
    status character varying(16) NOT NULL,
    reason character varying(32),
    detail text,
    attempts integer NOT NULL,
    attempts_counted integer NOT NULL,
    first_post_ms bigint,
    next_attempt_ms bigint NOT NULL,
    in_doubt boolean NOT NULL,
    why text,
    http_status integer,
    age_from_ms bigint NOT NULL,
    delay_from_ms bigint NOT NULL,
    created_from character varying(32) NOT NULL,
    due_ms bigint,
    received_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    ended_ms bigint,
    owner character varying(64),
    lease_until_ms bigint,
    replayed_ms bigint,
    wait_ms bigint,
    answer text
);

CREATE SEQUENCE public.intents_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.intents_number_seq OWNED BY public.intents.number;

CREATE TABLE public.lanes (
    lane character varying(255) NOT NULL,
    epoch bigint NOT NULL,
    owner character varying(64) NOT NULL,
    alive_ms bigint NOT NULL,
    left_epoch bigint,
    settled_after bigint
);

CREATE TABLE public.ledger (
    ledger_id character varying(36) NOT NULL,
    created_ms bigint NOT NULL
);

CREATE TABLE public.paces (
    connector character varying(255) NOT NULL,
    lane character varying(255) NOT NULL,
    failures integer NOT NULL,
    noted_ms bigint NOT NULL,
    wait_ms bigint NOT NULL,
    posted_ms bigint
);

CREATE TABLE public.posted_opens (
    number bigint NOT NULL,
    scope character varying(1020) NOT NULL,
    at_ms bigint NOT NULL
);

CREATE SEQUENCE public.posted_opens_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.posted_opens_number_seq OWNED BY public.posted_opens.number;

CREATE TABLE public.replicas (
    owner character varying(64) NOT NULL,
    name character varying(255) NOT NULL,
    started_ms bigint NOT NULL,
    alive_ms bigint NOT NULL,
    switch_seen bigint NOT NULL,
    unacked text NOT NULL
);

CREATE TABLE public.steps (
    number bigint NOT NULL,
    intent bigint NOT NULL,
    generation integer NOT NULL,
    at_ms bigint NOT NULL,
    what character varying(16) NOT NULL,
    certainty character varying(16),
    http_status integer,
    duration_ms integer,
    detail text,
    answer text
);

CREATE SEQUENCE public.steps_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.steps_number_seq OWNED BY public.steps.number;

CREATE TABLE public.switch_changes (
    number bigint NOT NULL,
    connector character varying(255) NOT NULL,
    state character varying(16) NOT NULL,
    at_ms bigint NOT NULL,
    who text NOT NULL,
    why text NOT NULL
);

CREATE SEQUENCE public.switch_changes_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.switch_changes_number_seq OWNED BY public.switch_changes.number;

CREATE TABLE public.switches (
    connector character varying(255) NOT NULL,
    state character varying(16) NOT NULL
);

ALTER TABLE ONLY public.clock_steps ALTER COLUMN number SET DEFAULT nextval('public.clock_steps_number_seq'::regclass);

ALTER TABLE ONLY public.intents ALTER COLUMN number SET DEFAULT nextval('public.intents_number_seq'::regclass);

ALTER TABLE ONLY public.posted_opens ALTER COLUMN number SET DEFAULT nextval('public.posted_opens_number_seq'::regclass);

ALTER TABLE ONLY public.steps ALTER COLUMN number SET DEFAULT nextval('public.steps_number_seq'::regclass);

ALTER TABLE ONLY public.switch_changes ALTER COLUMN number SET DEFAULT nextval('public.switch_changes_number_seq'::regclass);

INSERT INTO public.alembic_version VALUES ('0004');

INSERT INTO public.clock_steps VALUES (1, 'a-start-of-the-desks-machine', 1795983632532, 1796017319170);

INSERT INTO public.intents VALUES (1, 'momentum', 'counted', 1, 2, true, '\xfc5fead21e5b921088cff00838b57509', 'counted', 'openLong', NULL, NULL, 'delivered', NULL, NULL, 1, 1, 1796017325596, 0, false, 'HTTP 200', 200, 1796017325536, 1796017325536, 'signalq-created-ms', NULL, 1796017325595, 1796017325660, 1796017325660, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (5, 'momentum', 'delivered', 1, 2, true, '\x8ce28f3552454e1c5bbaa513dcceffb9', 'main', 'openLong', NULL, NULL, 'delivered', NULL, NULL, 1, 1, 1796017325596, 0, false, 'HTTP 200', 200, 1796017325536, 1796017325536, 'signalq-created-ms', NULL, 1796017325596, 1796017325660, 1796017325660, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (4, 'momentum', 'later', 1, 2, true, '\x7631dee712bf648ff3147db3738eadfc', 'later', 'openLong', NULL, NULL, 'scheduled', NULL, NULL, 0, 0, NULL, 0, false, NULL, NULL, 1796017325536, 1796017325536, 'signalq-created-ms', 1796017925536, 1796017325596, 1796017325680, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (2, 'momentum', 'refused', 1, 3, true, '\xf5ac0f1f31257baa813e6fd9f17f66d9', 'refusing', 'openLong', NULL, NULL, 'dead', 'rejected', 'the webhook refused it: HTTP 400', 1, 1, 1796017325596, 0, false, 'HTTP 400', 400, 1796017325536, 1796017325536, 'signalq-created-ms', NULL, 1796017325596, 1796017325696, 1796017325696, NULL, NULL, NULL, NULL, 'no such market');
INSERT INTO public.intents VALUES (6, 'momentum', 'canceled-by-a-person', 1, 3, true, '\x73ff31cd2a2a851c613de6515afee6b0', 'main', 'openLong', NULL, NULL, 'canceled', NULL, NULL, 0, 0, NULL, 0, false, 'canceled by root with `signalq scheduled cancel`', NULL, 1796017325536, 1796017325536, 'signalq-created-ms', 1796017925536, 1796017325596, 1796017326952, 1796017326952, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (3, 'momentum', 'replayed', 2, 6, true, '\xe9a19aa2634361d49b8705a2147ef6a2', 'replaying', 'openLong', NULL, NULL, 'delivered', NULL, NULL, 1, 1, 1796017328909, 0, false, 'HTTP 200', 200, 1796017325536, 1796017325536, 'signalq-created-ms', NULL, 1796017325596, 1796017328915, 1796017328915, NULL, NULL, 1796017328882, NULL, NULL);
INSERT INTO public.intents VALUES (8, 'momentum', 'replayed-and-halted', 2, 4, true, '\xb49e2866852058dcd3005f1e34cc48d0', 'halted', 'openLong', NULL, NULL, 'received', NULL, NULL, 0, 0, NULL, 0, false, NULL, NULL, 1796017325536, 1796017325536, 'signalq-created-ms', NULL, 1796017325602, 1796017335121, NULL, NULL, NULL, 1796017335121, NULL, NULL);
INSERT INTO public.intents VALUES (9, 'momentum', 'forbidden', 1, 2, true, '\x7b8c8ed8f85247e0eab477b09fbcae4a', 'leaving', 'openLong', NULL, NULL, 'dead', 'forbidden', 'its connector is switched to close-only: exits go, opens don''t', 0, 0, NULL, 0, false, NULL, NULL, 1796017335377, 1796017335377, 'signalq-created-ms', NULL, 1796017335397, 1796017335425, 1796017335425, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (10, 'momentum', 'superseded', 1, 4, true, '\xcb4022bba3d3be3b9be176c41dee272e', 'closing', 'openLong', NULL, NULL, 'dead', 'superseded', 'its waiting for the next attempt was ended by a cancelAll that came after it; the last of 1 attempts: HTTP 429', 1, 1, 1796017335448, 1796017338458, false, 'HTTP 429', 429, 1796017335439, 1796017335439, 'signalq-created-ms', NULL, 1796017335447, 1796017335510, 1796017335510, NULL, NULL, NULL, 3000, 'busy');
INSERT INTO public.intents VALUES (7, 'momentum', 'canceled-by-an-order', 1, 3, true, '\x2c6897ca4b3ed533d3d0f9dd5ed5baf5', 'closing', 'openLong', NULL, NULL, 'canceled', NULL, NULL, 0, 0, NULL, 0, false, 'canceled by the cancelAll cancel-all', NULL, 1796017325536, 1796017325536, 'signalq-created-ms', 1796017925536, 1796017325596, 1796017335519, 1796017335519, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (11, 'momentum', 'cancel-all', 1, 2, true, '\x5833ad0e2b0e12cd70b6409d3d2db15f', 'closing', 'cancelAll', NULL, NULL, 'delivered', NULL, NULL, 1, 1, 1796017335516, 0, false, 'HTTP 200', 200, 1796017335463, 1796017335463, 'signalq-created-ms', NULL, 1796017335470, 1796017335550, 1796017335550, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (13, 'momentum', 'dying', 1, 2, true, '\x7074cbb201d60a9343ef04ac937942d5', 'refusing', 'openLong', NULL, NULL, 'dying', 'rejected', 'the webhook refused it: HTTP 400', 1, 1, 1796017336546, 0, false, 'HTTP 400', 400, 1796017336526, 1796017336526, 'signalq-created-ms', NULL, 1796017336545, 1796017336560, NULL, NULL, NULL, NULL, NULL, 'no such market');
INSERT INTO public.intents VALUES (12, 'momentum', 'parked-twice', 1, 2, true, '\x131c7f143174fcfd6abb3785ce7f6e58', 'later', 'openLong', NULL, NULL, 'scheduled', NULL, NULL, 0, 0, NULL, 0, false, NULL, NULL, 1796017336526, 1796017336526, 'signalq-created-ms', 1796017344526, 1796017336532, 1796017336573, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (15, 'momentum', 'retried', 1, 2, true, '\x43102505250dcb80f203884b8d5f8ee2', 'failing', 'openLong', NULL, NULL, 'retrying', NULL, NULL, 1, 1, 1796017341238, 1796017344262, false, 'HTTP 429', 429, 1796017341226, 1796017341226, 'signalq-created-ms', NULL, 1796017341238, 1796017341274, NULL, NULL, NULL, NULL, 3000, 'busy');
INSERT INTO public.intents VALUES (14, 'momentum', 'parked-once', 1, 2, true, '\xb13659e4ed95bae90a1f0dd424194c90', 'later', 'openLong', NULL, NULL, 'scheduled', NULL, NULL, 0, 0, NULL, 0, false, NULL, NULL, 1796017341226, 1796017341226, 'signalq-created-ms', 1796017344226, 1796017341232, 1796017341274, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (16, 'momentum', 'b4439370549e40bcbc79571b0f8c8173', 1, 2, false, '\x8f364041a60a8db0ba111d840b3e48c3', 'limping', 'openLong', NULL, NULL, 'retrying', NULL, NULL, 1, 1, 1796017341250, 1796017344271, false, 'HTTP 429', 429, 1796017341250, 1796017341250, 'first receipt', NULL, 1796017341250, 1796017341283, NULL, NULL, NULL, NULL, 3000, 'busy');
INSERT INTO public.intents VALUES (17, 'momentum', 'cut-off-exit', 1, 2, true, '\x2d1fbd01435249fd20ed7df1e984fa90', 'exiting', 'closeLong', NULL, NULL, 'retrying', NULL, NULL, 1, 1, 1796017341254, 1796017342067, true, 'ServerDisconnectedError after the request began to go out', NULL, 1796017341226, 1796017341226, 'signalq-created-ms', NULL, 1796017341254, 1796017341290, NULL, NULL, NULL, NULL, 793, NULL);
INSERT INTO public.intents VALUES (18, 'momentum', 'no-answer-to-an-open', 1, 1, true, '\x8f7792ab93a012be3fcf16041545df33', 'silent', 'openLong', NULL, NULL, 'sending', NULL, NULL, 1, 1, 1796017341263, 0, true, NULL, NULL, 1796017341226, 1796017341226, 'signalq-created-ms', NULL, 1796017341262, 1796017341274, NULL, '204e95afaa4047838adab2bcc3010449', 1796017343019, NULL, NULL, NULL);
INSERT INTO public.intents VALUES (19, 'momentum', 'no-answer-to-an-exit', 1, 1, true, '\x59980577cf10f59bebad1fd8ac815f3c', 'mute', 'closeLong', NULL, NULL, 'sending', NULL, NULL, 1, 1, 1796017341271, 0, true, NULL, NULL, 1796017341226, 1796017341226, 'signalq-created-ms', NULL, 1796017341271, 1796017341283, NULL, '204e95afaa4047838adab2bcc3010449', 1796017343019, NULL, NULL, NULL);

INSERT INTO public.lanes VALUES ('former.due', 1, '204e95afaa4047838adab2bcc3010449', 1796017341494, NULL, 13);
INSERT INTO public.lanes VALUES ('former.orders.main', 1, '99ce68f994f047f0a76f174de5cd3be2', 1796017341494, NULL, 0);
INSERT INTO public.lanes VALUES ('former.orders.halted', 1, '99ce68f994f047f0a76f174de5cd3be2', 1796017341494, NULL, 0);
INSERT INTO public.lanes VALUES ('former.orders', 2, '204e95afaa4047838adab2bcc3010449', 1796017341494, 1, 0);

INSERT INTO public.ledger VALUES ('29d74673-6eda-447d-abad-a557b576d3e5', 1796017319425);

INSERT INTO public.paces VALUES ('closing', 'former.orders', 0, 1796017335550, 0, NULL);
INSERT INTO public.paces VALUES ('failing', 'former.orders', 1, 1796017341274, 3000, NULL);
INSERT INTO public.paces VALUES ('exiting', 'former.orders', 1, 1796017341283, 793, NULL);
INSERT INTO public.paces VALUES ('limping', 'former.orders', 1, 1796017341283, 3000, NULL);

INSERT INTO public.posted_opens VALUES (1, 'connector:counted', 1796017325602);

INSERT INTO public.replicas VALUES ('99ce68f994f047f0a76f174de5cd3be2', 'desk:5217', 1796017319662, 1796017341494, 2, '{"former.orders.halted": 2}');
INSERT INTO public.replicas VALUES ('204e95afaa4047838adab2bcc3010449', 'desk:5271', 1796017322445, 1796017341519, 2, '{"former.orders": 7}');

INSERT INTO public.steps VALUES (1, 1, 1, 1796017325660, 'attempt', 'accepted', 200, 7, 'HTTP 200', NULL);
INSERT INTO public.steps VALUES (2, 2, 1, 1796017325660, 'attempt', 'refused', 400, 7, 'HTTP 400', 'no such market');
INSERT INTO public.steps VALUES (3, 3, 1, 1796017325660, 'attempt', 'refused', 400, 7, 'HTTP 400', 'too small');
INSERT INTO public.steps VALUES (4, 5, 1, 1796017325660, 'attempt', 'accepted', 200, 6, 'HTTP 200', NULL);
INSERT INTO public.steps VALUES (5, 8, 1, 1796017325680, 'attempt', 'refused', 400, 1, 'HTTP 400', 'too small');
INSERT INTO public.steps VALUES (6, 4, 1, 1796017325680, 'scheduled', NULL, NULL, NULL, 'until 2026-11-30T05:52:05.536Z', NULL);
INSERT INTO public.steps VALUES (7, 7, 1, 1796017325680, 'scheduled', NULL, NULL, NULL, 'until 2026-11-30T05:52:05.536Z', NULL);
INSERT INTO public.steps VALUES (8, 6, 1, 1796017325680, 'scheduled', NULL, NULL, NULL, 'until 2026-11-30T05:52:05.536Z', NULL);
INSERT INTO public.steps VALUES (9, 2, 1, 1796017325696, 'dead', NULL, NULL, NULL, 'rejected: the webhook refused it: HTTP 400', NULL);
INSERT INTO public.steps VALUES (10, 3, 1, 1796017325696, 'dead', NULL, NULL, NULL, 'rejected: the webhook refused it: HTTP 400', NULL);
INSERT INTO public.steps VALUES (11, 8, 1, 1796017325703, 'dead', NULL, NULL, NULL, 'rejected: the webhook refused it: HTTP 400', NULL);
INSERT INTO public.steps VALUES (12, 6, 1, 1796017326952, 'canceled', NULL, NULL, NULL, 'by root with `signalq scheduled cancel`', NULL);
INSERT INTO public.steps VALUES (13, 3, 2, 1796017328882, 'replayed', NULL, NULL, NULL, 'by root, with signalq dead replay', NULL);
INSERT INTO public.steps VALUES (14, 3, 2, 1796017328915, 'attempt', 'accepted', 200, 3, 'HTTP 200', NULL);
INSERT INTO public.steps VALUES (15, 8, 2, 1796017335121, 'replayed', NULL, NULL, NULL, 'by root, with signalq dead replay', NULL);
INSERT INTO public.steps VALUES (16, 9, 1, 1796017335425, 'dead', NULL, NULL, NULL, 'forbidden: its connector is switched to close-only: exits go, opens don''t', NULL);
INSERT INTO public.steps VALUES (17, 10, 1, 1796017335464, 'attempt', 'not taken', 429, 4, 'HTTP 429', 'busy');
INSERT INTO public.steps VALUES (18, 10, 1, 1796017335510, 'dead', NULL, NULL, NULL, 'superseded: its waiting for the next attempt was ended by a cancelAll that came after it; the last of 1 attempts: HTTP 429', NULL);
INSERT INTO public.steps VALUES (19, 7, 1, 1796017335519, 'canceled', NULL, NULL, NULL, 'by the cancelAll cancel-all', NULL);
INSERT INTO public.steps VALUES (20, 11, 1, 1796017335550, 'attempt', 'accepted', 200, 7, 'HTTP 200', NULL);
INSERT INTO public.steps VALUES (21, 13, 1, 1796017336560, 'attempt', 'refused', 400, 2, 'HTTP 400', 'no such market');
INSERT INTO public.steps VALUES (22, 12, 1, 1796017336573, 'scheduled', NULL, NULL, NULL, 'until 2026-11-30T05:42:24.526Z', NULL);
INSERT INTO public.steps VALUES (23, 15, 1, 1796017341274, 'attempt', 'not taken', 429, 2, 'HTTP 429', 'busy');
INSERT INTO public.steps VALUES (24, 14, 1, 1796017341274, 'scheduled', NULL, NULL, NULL, 'until 2026-11-30T05:42:24.226Z', NULL);
INSERT INTO public.steps VALUES (25, 16, 1, 1796017341283, 'attempt', 'not taken', 429, 1, 'HTTP 429', 'busy');
INSERT INTO public.steps VALUES (26, 17, 1, 1796017341290, 'attempt', 'unknown', NULL, 5, 'ServerDisconnectedError after the request began to go out', NULL);

INSERT INTO public.switch_changes VALUES (1, 'halted', 'paused', 1796017330905, 'root', 'odd fills');
INSERT INTO public.switch_changes VALUES (2, 'leaving', 'close-only', 1796017333555, 'root', 'to be given up');

INSERT INTO public.switches VALUES ('halted', 'paused');
INSERT INTO public.switches VALUES ('leaving', 'close-only');

SELECT pg_catalog.setval('public.clock_steps_number_seq', 1, true);

SELECT pg_catalog.setval('public.intents_number_seq', 19, true);

SELECT pg_catalog.setval('public.posted_opens_number_seq', 1, true);

SELECT pg_catalog.setval('public.steps_number_seq', 26, true);

SELECT pg_catalog.setval('public.switch_changes_number_seq', 2, true);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.clock_steps
    ADD CONSTRAINT pk_clock_steps PRIMARY KEY (number);

ALTER TABLE ONLY public.intents
    ADD CONSTRAINT pk_intents PRIMARY KEY (number);

ALTER TABLE ONLY public.lanes
    ADD CONSTRAINT pk_lanes PRIMARY KEY (lane);

ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT pk_ledger PRIMARY KEY (ledger_id);

ALTER TABLE ONLY public.paces
    ADD CONSTRAINT pk_paces PRIMARY KEY (connector);

ALTER TABLE ONLY public.posted_opens
    ADD CONSTRAINT pk_posted_opens PRIMARY KEY (number);

ALTER TABLE ONLY public.replicas
    ADD CONSTRAINT pk_replicas PRIMARY KEY (owner);

ALTER TABLE ONLY public.steps
    ADD CONSTRAINT pk_steps PRIMARY KEY (number);

ALTER TABLE ONLY public.switch_changes
    ADD CONSTRAINT pk_switch_changes PRIMARY KEY (number);

ALTER TABLE ONLY public.switches
    ADD CONSTRAINT pk_switches PRIMARY KEY (connector);

ALTER TABLE ONLY public.intents
    ADD CONSTRAINT uq_intents_strategy_intent_id UNIQUE (strategy, intent_id);

CREATE INDEX ix_clock_steps_machine ON public.clock_steps USING btree (machine, number);

CREATE INDEX ix_intents_digest ON public.intents USING btree (digest) WHERE (NOT has_message_id);

CREATE INDEX ix_intents_ended_ms ON public.intents USING btree (ended_ms);

CREATE INDEX ix_intents_owner ON public.intents USING btree (owner) WHERE ((status)::text = 'sending'::text);

CREATE INDEX ix_intents_pending ON public.intents USING btree (connector, due_ms) WHERE ((due_ms IS NOT NULL) AND ((status)::text = ANY ((ARRAY['received'::character varying, 'scheduled'::character varying])::text[])));

CREATE INDEX ix_paces_lane ON public.paces USING btree (lane);

CREATE INDEX ix_posted_opens_scope ON public.posted_opens USING btree (scope, at_ms);

CREATE INDEX ix_steps_intent ON public.steps USING btree (intent);
