CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE clock_steps (
	number INTEGER NOT NULL, 
	machine VARCHAR(64) NOT NULL, 
	offset_ms BIGINT NOT NULL, 
	since_ms BIGINT NOT NULL, 
	CONSTRAINT pk_clock_steps PRIMARY KEY (number)
);
INSERT INTO "clock_steps" VALUES(1,'a-start-of-the-desks-machine',1795983632532,1796017248137);
CREATE TABLE intents (
	number INTEGER NOT NULL, 
	strategy VARCHAR(1020) NOT NULL, 
	intent_id VARCHAR(1020) NOT NULL, 
	generation INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	has_message_id BOOLEAN NOT NULL, 
	digest BLOB NOT NULL, 
	connector VARCHAR(255) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	client_order_id VARCHAR(1020), 
	origin_user VARCHAR(1020), 
	status VARCHAR(16) NOT NULL, 
	reason VARCHAR(32), 
	detail TEXT, 
	attempts INTEGER NOT NULL, 
	attempts_counted INTEGER NOT NULL, 
	first_post_ms BIGINT, 
	next_attempt_ms BIGINT NOT NULL, 
	in_doubt BOOLEAN NOT NULL, 
	why TEXT, 
	http_status INTEGER, 
	age_from_ms BIGINT NOT NULL, 
	delay_from_ms BIGINT NOT NULL, 
	created_from VARCHAR(32) NOT NULL, 
	due_ms BIGINT, 
	received_ms BIGINT NOT NULL, 
	updated_ms BIGINT NOT NULL, 
	ended_ms BIGINT, 
	owner VARCHAR(64), 
	lease_until_ms BIGINT, replayed_ms BIGINT, wait_ms BIGINT, answer TEXT, 
	CONSTRAINT pk_intents PRIMARY KEY (number), 
	CONSTRAINT uq_intents_strategy_intent_id UNIQUE (strategy, intent_id)
);
INSERT INTO "intents" VALUES(1,'momentum','delivered',1,2,1,X'8CE28F3552454E1C5BBAA513DCCEFFB9','main','openLong',NULL,NULL,'delivered',NULL,NULL,1,1,1796017255360,0,0,'HTTP 200',200,1796017255333,1796017255333,'signalq-created-ms',NULL,1796017255359,1796017255367,1796017255367,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(2,'momentum','counted',1,2,1,X'FC5FEAD21E5B921088CFF00838B57509','counted','openLong',NULL,NULL,'delivered',NULL,NULL,1,1,1796017255363,0,0,'HTTP 200',200,1796017255333,1796017255333,'signalq-created-ms',NULL,1796017255363,1796017255374,1796017255374,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(3,'momentum','refused',1,3,1,X'F5AC0F1F31257BAA813E6FD9F17F66D9','refusing','openLong',NULL,NULL,'dead','rejected','the webhook refused it: HTTP 400',1,1,1796017255370,0,0,'HTTP 400',400,1796017255333,1796017255333,'signalq-created-ms',NULL,1796017255369,1796017255396,1796017255396,NULL,NULL,NULL,NULL,'no such market');
INSERT INTO "intents" VALUES(4,'momentum','replayed',2,6,1,X'E9A19AA2634361D49B8705A2147EF6A2','replaying','openLong',NULL,NULL,'delivered',NULL,NULL,1,1,1796017258938,0,0,'HTTP 200',200,1796017255333,1796017255333,'signalq-created-ms',NULL,1796017255381,1796017258948,1796017258948,NULL,NULL,1796017258920,NULL,NULL);
INSERT INTO "intents" VALUES(5,'momentum','replayed-and-halted',2,4,1,X'B49E2866852058DCD3005F1E34CC48D0','halted','openLong',NULL,NULL,'received',NULL,NULL,0,0,NULL,0,0,NULL,NULL,1796017255333,1796017255333,'signalq-created-ms',NULL,1796017255399,1796017263717,NULL,NULL,NULL,1796017263717,NULL,NULL);
INSERT INTO "intents" VALUES(6,'momentum','later',1,2,1,X'7631DEE712BF648FF3147DB3738EADFC','later','openLong',NULL,NULL,'scheduled',NULL,NULL,0,0,NULL,0,0,NULL,NULL,1796017255333,1796017255333,'signalq-created-ms',1796017855333,1796017255402,1796017255429,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(7,'momentum','canceled-by-a-person',1,3,1,X'73FF31CD2A2A851C613DE6515AFEE6B0','main','openLong',NULL,NULL,'canceled',NULL,NULL,0,0,NULL,0,0,'canceled by root with `signalq scheduled cancel`',NULL,1796017255333,1796017255333,'signalq-created-ms',1796017855333,1796017255417,1796017256642,1796017256642,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(8,'momentum','canceled-by-an-order',1,3,1,X'2C6897CA4B3ED533D3D0F9DD5ED5BAF5','closing','openLong',NULL,NULL,'canceled',NULL,NULL,0,0,NULL,0,0,'canceled by the cancelAll cancel-all',NULL,1796017255333,1796017255333,'signalq-created-ms',1796017855333,1796017255428,1796017264010,1796017264010,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(9,'momentum','forbidden',1,2,1,X'7B8C8ED8F85247E0EAB477B09FBCAE4A','leaving','openLong',NULL,NULL,'dead','forbidden','its connector is switched to close-only: exits go, opens don''t',0,0,NULL,0,0,NULL,NULL,1796017263908,1796017263908,'signalq-created-ms',NULL,1796017263922,1796017263933,1796017263933,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(10,'momentum','superseded',1,4,1,X'CB4022BBA3D3BE3B9BE176C41DEE272E','closing','openLong',NULL,NULL,'dead','superseded','its waiting for the next attempt was ended by a cancelAll that came after it; the last of 1 attempts: HTTP 429',1,1,1796017263964,1796017266974,0,'HTTP 429',429,1796017263937,1796017263937,'signalq-created-ms',NULL,1796017263964,1796017264009,1796017264009,NULL,NULL,NULL,3000,'busy');
INSERT INTO "intents" VALUES(11,'momentum','cancel-all',1,2,1,X'5833AD0E2B0E12CD70B6409D3D2DB15F','closing','cancelAll',NULL,NULL,'delivered',NULL,NULL,1,1,1796017264010,0,0,'HTTP 200',200,1796017263976,1796017263976,'signalq-created-ms',NULL,1796017263992,1796017264014,1796017264014,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(12,'momentum','parked-twice',1,2,1,X'131C7F143174FCFD6ABB3785CE7F6E58','later','openLong',NULL,NULL,'scheduled',NULL,NULL,0,0,NULL,0,0,NULL,NULL,1796017264646,1796017264646,'signalq-created-ms',1796017272646,1796017264651,1796017264673,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(13,'momentum','dying',1,2,1,X'7074CBB201D60A9343EF04AC937942D5','refusing','openLong',NULL,NULL,'dying','rejected','the webhook refused it: HTTP 400',1,1,1796017264657,0,0,'HTTP 400',400,1796017264646,1796017264646,'signalq-created-ms',NULL,1796017264656,1796017264660,NULL,NULL,NULL,NULL,NULL,'no such market');
INSERT INTO "intents" VALUES(14,'momentum','parked-once',1,2,1,X'B13659E4ED95BAE90A1F0DD424194C90','later','openLong',NULL,NULL,'scheduled',NULL,NULL,0,0,NULL,0,0,NULL,NULL,1796017269346,1796017269346,'signalq-created-ms',1796017272346,1796017269355,1796017269368,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(15,'momentum','retried',1,2,1,X'43102505250DCB80F203884B8D5F8EE2','failing','openLong',NULL,NULL,'retrying',NULL,NULL,1,1,1796017269359,1796017272365,0,'HTTP 429',429,1796017269346,1796017269346,'signalq-created-ms',NULL,1796017269359,1796017269366,NULL,NULL,NULL,NULL,3000,'busy');
INSERT INTO "intents" VALUES(16,'momentum','bff1c604a0524e22b83e3ab2a7d15883',1,2,0,X'8F364041A60A8DB0BA111D840B3E48C3','limping','openLong',NULL,NULL,'retrying',NULL,NULL,1,1,1796017269377,1796017272657,0,'HTTP 429',429,1796017269376,1796017269376,'first receipt',NULL,1796017269376,1796017269387,NULL,NULL,NULL,NULL,3272,'busy');
INSERT INTO "intents" VALUES(17,'momentum','cut-off-exit',1,2,1,X'2D1FBD01435249FD20ED7DF1E984FA90','exiting','closeLong',NULL,NULL,'retrying',NULL,NULL,1,1,1796017269383,1796017271950,1,'ServerDisconnectedError after the request began to go out',NULL,1796017269346,1796017269346,'signalq-created-ms',NULL,1796017269382,1796017269388,NULL,NULL,NULL,NULL,2562,NULL);
INSERT INTO "intents" VALUES(18,'momentum','no-answer-to-an-open',1,1,1,X'8F7792AB93A012BE3FCF16041545DF33','silent','openLong',NULL,NULL,'sending',NULL,NULL,1,1,1796017269425,0,1,NULL,NULL,1796017269346,1796017269346,'signalq-created-ms',NULL,1796017269424,1796017269425,NULL,'ae79fc4400044ad38041e0c3a61970c7',1796017271211,NULL,NULL,NULL);
INSERT INTO "intents" VALUES(19,'momentum','no-answer-to-an-exit',1,1,1,X'59980577CF10F59BEBAD1FD8AC815F3C','mute','closeLong',NULL,NULL,'sending',NULL,NULL,1,1,1796017269437,0,1,NULL,NULL,1796017269346,1796017269346,'signalq-created-ms',NULL,1796017269437,1796017269437,NULL,'ae79fc4400044ad38041e0c3a61970c7',1796017271211,NULL,NULL,NULL);
CREATE TABLE lanes (
	lane VARCHAR(255) NOT NULL, 
	epoch BIGINT NOT NULL, 
	owner VARCHAR(64) NOT NULL, 
	alive_ms BIGINT NOT NULL, left_epoch BIGINT, settled_after BIGINT, 
	CONSTRAINT pk_lanes PRIMARY KEY (lane)
);
INSERT INTO "lanes" VALUES('former.orders.halted',1,'19994c07447241eeaeee39f5b318b142',1796017269711,NULL,4);
INSERT INTO "lanes" VALUES('former.orders.main',1,'19994c07447241eeaeee39f5b318b142',1796017269711,NULL,0);
INSERT INTO "lanes" VALUES('former.orders',2,'ae79fc4400044ad38041e0c3a61970c7',1796017269711,1,0);
INSERT INTO "lanes" VALUES('former.due',1,'19994c07447241eeaeee39f5b318b142',1796017269711,NULL,13);
CREATE TABLE ledger (
	ledger_id VARCHAR(36) NOT NULL, 
	created_ms BIGINT NOT NULL, 
	CONSTRAINT pk_ledger PRIMARY KEY (ledger_id)
);
INSERT INTO "ledger" VALUES('1b37aa43-f319-48f8-888d-2902bac3ff54',1796017248186);
CREATE TABLE paces (
	connector VARCHAR(255) NOT NULL, 
	lane VARCHAR(255) NOT NULL, 
	failures INTEGER NOT NULL, 
	noted_ms BIGINT NOT NULL, 
	wait_ms BIGINT NOT NULL, 
	posted_ms BIGINT, 
	CONSTRAINT pk_paces PRIMARY KEY (connector)
);
INSERT INTO "paces" VALUES('closing','former.orders',0,1796017264014,0,NULL);
INSERT INTO "paces" VALUES('failing','former.orders',1,1796017269366,3000,NULL);
INSERT INTO "paces" VALUES('limping','former.orders',1,1796017269387,3272,NULL);
INSERT INTO "paces" VALUES('exiting','former.orders',1,1796017269388,2562,NULL);
CREATE TABLE posted_opens (
	number INTEGER NOT NULL, 
	scope VARCHAR(1020) NOT NULL, 
	at_ms BIGINT NOT NULL, 
	CONSTRAINT pk_posted_opens PRIMARY KEY (number)
);
INSERT INTO "posted_opens" VALUES(1,'connector:counted',1796017255365);
CREATE TABLE replicas (
	owner VARCHAR(64) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	started_ms BIGINT NOT NULL, 
	alive_ms BIGINT NOT NULL, 
	switch_seen BIGINT NOT NULL, 
	unacked TEXT NOT NULL, 
	CONSTRAINT pk_replicas PRIMARY KEY (owner)
);
INSERT INTO "replicas" VALUES('19994c07447241eeaeee39f5b318b142','desk:3028',1796017248389,1796017269780,2,'{"former.orders.halted": 2}');
INSERT INTO "replicas" VALUES('ae79fc4400044ad38041e0c3a61970c7','desk:3118',1796017252249,1796017269711,2,'{"former.orders": 7}');
CREATE TABLE steps (
	number INTEGER NOT NULL, 
	intent BIGINT NOT NULL, 
	generation INTEGER NOT NULL, 
	at_ms BIGINT NOT NULL, 
	what VARCHAR(16) NOT NULL, 
	certainty VARCHAR(16), 
	http_status INTEGER, 
	duration_ms INTEGER, 
	detail TEXT, answer TEXT, 
	CONSTRAINT pk_steps PRIMARY KEY (number)
);
INSERT INTO "steps" VALUES(1,1,1,1796017255367,'attempt','accepted',200,3,'HTTP 200',NULL);
INSERT INTO "steps" VALUES(2,2,1,1796017255374,'attempt','accepted',200,0,'HTTP 200',NULL);
INSERT INTO "steps" VALUES(3,3,1,1796017255377,'attempt','refused',400,0,'HTTP 400','no such market');
INSERT INTO "steps" VALUES(4,4,1,1796017255393,'attempt','refused',400,1,'HTTP 400','too small');
INSERT INTO "steps" VALUES(5,3,1,1796017255396,'dead',NULL,NULL,NULL,'rejected: the webhook refused it: HTTP 400',NULL);
INSERT INTO "steps" VALUES(6,4,1,1796017255397,'dead',NULL,NULL,NULL,'rejected: the webhook refused it: HTTP 400',NULL);
INSERT INTO "steps" VALUES(7,5,1,1796017255403,'attempt','refused',400,1,'HTTP 400','too small');
INSERT INTO "steps" VALUES(8,5,1,1796017255407,'dead',NULL,NULL,NULL,'rejected: the webhook refused it: HTTP 400',NULL);
INSERT INTO "steps" VALUES(9,6,1,1796017255429,'scheduled',NULL,NULL,NULL,'until 2026-11-30T05:50:55.333Z',NULL);
INSERT INTO "steps" VALUES(10,7,1,1796017255439,'scheduled',NULL,NULL,NULL,'until 2026-11-30T05:50:55.333Z',NULL);
INSERT INTO "steps" VALUES(11,8,1,1796017255454,'scheduled',NULL,NULL,NULL,'until 2026-11-30T05:50:55.333Z',NULL);
INSERT INTO "steps" VALUES(12,7,1,1796017256642,'canceled',NULL,NULL,NULL,'by root with `signalq scheduled cancel`',NULL);
INSERT INTO "steps" VALUES(13,4,2,1796017258920,'replayed',NULL,NULL,NULL,'by root, with signalq dead replay',NULL);
INSERT INTO "steps" VALUES(14,4,2,1796017258948,'attempt','accepted',200,4,'HTTP 200',NULL);
INSERT INTO "steps" VALUES(15,5,2,1796017263717,'replayed',NULL,NULL,NULL,'by root, with signalq dead replay',NULL);
INSERT INTO "steps" VALUES(16,9,1,1796017263933,'dead',NULL,NULL,NULL,'forbidden: its connector is switched to close-only: exits go, opens don''t',NULL);
INSERT INTO "steps" VALUES(17,10,1,1796017263976,'attempt','not taken',429,4,'HTTP 429','busy');
INSERT INTO "steps" VALUES(18,10,1,1796017264009,'dead',NULL,NULL,NULL,'superseded: its waiting for the next attempt was ended by a cancelAll that came after it; the last of 1 attempts: HTTP 429',NULL);
INSERT INTO "steps" VALUES(19,8,1,1796017264010,'canceled',NULL,NULL,NULL,'by the cancelAll cancel-all',NULL);
INSERT INTO "steps" VALUES(20,11,1,1796017264014,'attempt','accepted',200,1,'HTTP 200',NULL);
INSERT INTO "steps" VALUES(21,13,1,1796017264660,'attempt','refused',400,1,'HTTP 400','no such market');
INSERT INTO "steps" VALUES(22,12,1,1796017264673,'scheduled',NULL,NULL,NULL,'until 2026-11-30T05:41:12.646Z',NULL);
INSERT INTO "steps" VALUES(23,15,1,1796017269366,'attempt','not taken',429,2,'HTTP 429','busy');
INSERT INTO "steps" VALUES(24,14,1,1796017269368,'scheduled',NULL,NULL,NULL,'until 2026-11-30T05:41:12.346Z',NULL);
INSERT INTO "steps" VALUES(25,16,1,1796017269387,'attempt','not taken',429,1,'HTTP 429','busy');
INSERT INTO "steps" VALUES(26,17,1,1796017269388,'attempt','unknown',NULL,1,'ServerDisconnectedError after the request began to go out',NULL);
CREATE TABLE switch_changes (
	number INTEGER NOT NULL, 
	connector VARCHAR(255) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	at_ms BIGINT NOT NULL, 
	who TEXT NOT NULL, 
	why TEXT NOT NULL, 
	CONSTRAINT pk_switch_changes PRIMARY KEY (number)
);
INSERT INTO "switch_changes" VALUES(1,'halted','paused',1796017260251,'root','odd fills');
INSERT INTO "switch_changes" VALUES(2,'leaving','close-only',1796017261551,'root','to be given up');
CREATE TABLE switches (
	connector VARCHAR(255) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_switches PRIMARY KEY (connector)
);
INSERT INTO "switches" VALUES('halted','paused');
INSERT INTO "switches" VALUES('leaving','close-only');
CREATE INDEX ix_intents_digest ON intents (digest) WHERE NOT has_message_id;
CREATE INDEX ix_intents_ended_ms ON intents (ended_ms);
CREATE INDEX ix_intents_owner ON intents (owner) WHERE status = 'sending';
CREATE INDEX ix_intents_pending ON intents (connector, due_ms) WHERE due_ms IS NOT NULL AND status IN ('received', 'scheduled');
CREATE INDEX ix_steps_intent ON steps (intent);
CREATE INDEX ix_posted_opens_scope ON posted_opens (scope, at_ms);
CREATE INDEX ix_paces_lane ON paces (lane);
CREATE INDEX ix_clock_steps_machine ON clock_steps (machine, number);
