BEGIN TRANSACTION;
CREATE TABLE act (
	id INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	person TEXT NOT NULL, 
	verb TEXT NOT NULL, 
	about TEXT NOT NULL, 
	note TEXT NOT NULL, 
	CONSTRAINT act_pkey PRIMARY KEY (id)
);
INSERT INTO "act" VALUES(1,'2026-11-23T09:00:05.000000Z','awa','settle --delivered','{"entry":26,"was":"ready"}','seen in PA2');
INSERT INTO "act" VALUES(2,'2026-11-23T09:00:05.000000Z','awa','settle --discard','{"entry":27,"was":"ready"}','seen in PA2');
INSERT INTO "act" VALUES(3,'2026-11-23T09:00:09.000000Z','awa','reload','["journal"]','');
INSERT INTO "act" VALUES(4,'2026-11-23T09:00:23.000000Z','awa','review done','{"entry":31,"was":"delivered"}','corrected in PA2');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	batch_id INTEGER NOT NULL, 
	resource TEXT NOT NULL, 
	fence INTEGER NOT NULL, 
	request_sha256 TEXT NOT NULL, 
	started_at TEXT NOT NULL, 
	ended_at TEXT, 
	outcome TEXT, 
	body_complete BOOLEAN, 
	status INTEGER, 
	detail TEXT, 
	problems TEXT, 
	CONSTRAINT attempt_pkey PRIMARY KEY (id), 
	CONSTRAINT attempt_outcome CHECK (outcome IS NULL OR outcome IN ('accepted', 'refused', 'not_processed', 'in_doubt')), 
	CONSTRAINT attempt_ended_with_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL)), 
	CONSTRAINT attempt_batch_id_fkey FOREIGN KEY(batch_id) REFERENCES batch (id)
);
INSERT INTO "attempt" VALUES(1,1,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','accepted',1,200,NULL,NULL);
INSERT INTO "attempt" VALUES(2,2,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','in_doubt',1,NULL,'ReadTimeout',NULL);
INSERT INTO "attempt" VALUES(3,3,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','refused',1,422,'amount: too large',NULL);
INSERT INTO "attempt" VALUES(4,4,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','not_processed',0,NULL,'ConnectError',NULL);
INSERT INTO "attempt" VALUES(5,5,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(6,6,'repayment',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','accepted',1,200,NULL,NULL);
INSERT INTO "attempt" VALUES(7,7,'repayment',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','in_doubt',1,NULL,'ReadTimeout',NULL);
INSERT INTO "attempt" VALUES(8,8,'repayment',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','refused',1,422,'amount: too large',NULL);
INSERT INTO "attempt" VALUES(9,9,'repayment',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','not_processed',0,NULL,'ConnectError',NULL);
INSERT INTO "attempt" VALUES(10,10,'repayment',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(11,11,'journal',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','accepted',1,200,NULL,NULL);
INSERT INTO "attempt" VALUES(12,12,'journal',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','in_doubt',1,NULL,'ReadTimeout',NULL);
INSERT INTO "attempt" VALUES(13,13,'journal',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','refused',1,422,'amount: too large',NULL);
INSERT INTO "attempt" VALUES(14,14,'journal',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','not_processed',0,NULL,'ConnectError',NULL);
INSERT INTO "attempt" VALUES(15,15,'journal',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(16,16,'repayment',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','accepted',1,200,NULL,'[{"details":"not all could be read","severity":"error"}]');
INSERT INTO "attempt" VALUES(17,17,'repayment',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','in_doubt',1,NULL,'ReadTimeout',NULL);
INSERT INTO "attempt" VALUES(18,18,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','in_doubt',1,NULL,'ReadTimeout',NULL);
INSERT INTO "attempt" VALUES(19,19,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','accepted',1,200,NULL,NULL);
INSERT INTO "attempt" VALUES(20,20,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','accepted',1,200,NULL,NULL);
INSERT INTO "attempt" VALUES(21,21,'loan_draft',3,'c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','accepted',1,200,NULL,NULL);
CREATE TABLE batch (
	id INTEGER NOT NULL, 
	resource TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT batch_pkey PRIMARY KEY (id)
);
INSERT INTO "batch" VALUES(1,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(2,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(3,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(4,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(5,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(6,'repayment','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(7,'repayment','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(8,'repayment','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(9,'repayment','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(10,'repayment','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(11,'journal','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(12,'journal','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(13,'journal','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(14,'journal','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(15,'journal','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(16,'repayment','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(17,'repayment','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(18,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(19,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(20,'loan_draft','2026-11-23T09:00:00.000000Z');
INSERT INTO "batch" VALUES(21,'loan_draft','2026-11-23T09:00:00.000000Z');
CREATE TABLE batch_member (
	batch_id INTEGER NOT NULL, 
	entry_id INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	CONSTRAINT batch_member_pkey PRIMARY KEY (batch_id, entry_id), 
	CONSTRAINT batch_member_batch_id_fkey FOREIGN KEY(batch_id) REFERENCES batch (id), 
	CONSTRAINT batch_member_entry_id_fkey FOREIGN KEY(entry_id) REFERENCES entry (id)
);
INSERT INTO "batch_member" VALUES(1,1,0);
INSERT INTO "batch_member" VALUES(2,2,0);
INSERT INTO "batch_member" VALUES(3,3,0);
INSERT INTO "batch_member" VALUES(4,4,0);
INSERT INTO "batch_member" VALUES(5,5,0);
INSERT INTO "batch_member" VALUES(6,6,0);
INSERT INTO "batch_member" VALUES(7,7,0);
INSERT INTO "batch_member" VALUES(8,8,0);
INSERT INTO "batch_member" VALUES(9,9,0);
INSERT INTO "batch_member" VALUES(10,10,0);
INSERT INTO "batch_member" VALUES(11,11,0);
INSERT INTO "batch_member" VALUES(12,12,0);
INSERT INTO "batch_member" VALUES(13,13,0);
INSERT INTO "batch_member" VALUES(14,14,0);
INSERT INTO "batch_member" VALUES(15,15,0);
INSERT INTO "batch_member" VALUES(16,16,0);
INSERT INTO "batch_member" VALUES(17,17,0);
INSERT INTO "batch_member" VALUES(18,28,0);
INSERT INTO "batch_member" VALUES(19,29,0);
INSERT INTO "batch_member" VALUES(20,30,0);
INSERT INTO "batch_member" VALUES(21,31,0);
CREATE TABLE captured (
	stream TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	resource TEXT NOT NULL, 
	identity TEXT, 
	hash TEXT NOT NULL, 
	in_scope BOOLEAN NOT NULL, 
	baselined BOOLEAN NOT NULL, 
	refused BOOLEAN NOT NULL, 
	again BOOLEAN NOT NULL, 
	created_at TEXT, 
	scan_number INTEGER DEFAULT '0' NOT NULL, 
	captured_at TEXT NOT NULL, 
	cutoff TEXT, 
	unseen BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT captured_pkey PRIMARY KEY (stream, "key")
);
INSERT INTO "captured" VALUES('loan_draft.individual','871','loan_draft','000000871','h',1,0,0,0,'2026-11-20',1,'2026-11-23T09:00:00.000000Z',NULL,0);
INSERT INTO "captured" VALUES('loan_draft.individual','872','loan_draft','000000872','h',1,1,0,0,'2026-11-20',1,'2026-11-23T09:00:00.000000Z',NULL,0);
INSERT INTO "captured" VALUES('loan_draft.individual','873','loan_draft','000000873','h',1,0,1,0,'2026-11-20',1,'2026-11-23T09:00:00.000000Z',NULL,0);
INSERT INTO "captured" VALUES('loan_draft.individual','874','loan_draft','000000874','h',1,0,0,1,'2026-11-20',1,'2026-11-23T09:00:00.000000Z',NULL,0);
CREATE TABLE catalogue (
	kind TEXT NOT NULL, 
	items TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	refreshed_at TEXT NOT NULL, 
	CONSTRAINT catalogue_pkey PRIMARY KEY (kind)
);
INSERT INTO "catalogue" VALUES('activities','[{"id":1}]','a30a9d83355d7257e16cfbf9455601e7df5108455bd5290941845bf90dd92d1c','2026-11-23T09:00:32.000000Z');
INSERT INTO "catalogue" VALUES('locales','[{"id":1}]','a30a9d83355d7257e16cfbf9455601e7df5108455bd5290941845bf90dd92d1c','2026-11-23T09:00:32.000000Z');
INSERT INTO "catalogue" VALUES('locations','[{"id":1}]','a30a9d83355d7257e16cfbf9455601e7df5108455bd5290941845bf90dd92d1c','2026-11-23T09:00:32.000000Z');
INSERT INTO "catalogue" VALUES('themes','[{"id":1}]','a30a9d83355d7257e16cfbf9455601e7df5108455bd5290941845bf90dd92d1c','2026-11-23T09:00:32.000000Z');
CREATE TABLE divergence (
	id INTEGER NOT NULL, 
	entry_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	fields TEXT NOT NULL, 
	reasons TEXT NOT NULL, 
	since TEXT NOT NULL, 
	ended_at TEXT, 
	ended_by TEXT, 
	CONSTRAINT divergence_pkey PRIMARY KEY (id), 
	CONSTRAINT divergence_kind CHECK (kind IN ('changed', 'left_scope')), 
	CONSTRAINT divergence_entry_id_fkey FOREIGN KEY(entry_id) REFERENCES entry (id)
);
INSERT INTO "divergence" VALUES(1,29,'changed','[{"field":"amount","is":"2","was":"1"}]','[]','2026-11-23T09:00:22.000000Z',NULL,NULL);
INSERT INTO "divergence" VALUES(2,31,'changed','[{"field":"amount","is":"2","was":"1"}]','[]','2026-11-23T09:00:22.000000Z','2026-11-23T09:00:23.000000Z','awa');
INSERT INTO "divergence" VALUES(3,30,'left_scope','[]','[]','2026-11-23T09:00:22.000000Z',NULL,NULL);
CREATE TABLE entry (
	id INTEGER NOT NULL, 
	resource TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT, 
	evidence TEXT, 
	waits_for INTEGER, 
	stream TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	loan_id TEXT NOT NULL, 
	loan_fold TEXT NOT NULL, 
	client_id TEXT DEFAULT '' NOT NULL, 
	amount TEXT, 
	currency TEXT, 
	period TEXT DEFAULT '' NOT NULL, 
	body_sha256 TEXT, 
	hashes TEXT, 
	fingerprint TEXT, 
	origin TEXT NOT NULL, 
	refusals TEXT, 
	receipt TEXT, 
	publish_by TEXT, 
	due_at TEXT NOT NULL, 
	batch_cap INTEGER, 
	repeats INTEGER DEFAULT '0' NOT NULL, 
	created_at TEXT NOT NULL, 
	changed_at TEXT NOT NULL, 
	settled_at TEXT, 
	done_at TEXT, 
	row_version INTEGER DEFAULT '1' NOT NULL, 
	body TEXT, 
	CONSTRAINT entry_pkey PRIMARY KEY (id), 
	CONSTRAINT entry_delivered_by_evidence CHECK ((evidence IS NOT NULL) = (state = 'delivered')), 
	CONSTRAINT entry_settled_when_final CHECK ((settled_at IS NOT NULL) = (state IN ('delivered', 'discarded', 'superseded', 'withdrawn'))), 
	CONSTRAINT entry_evidence CHECK (evidence IS NULL OR evidence IN ('receipt', 'look_up', 'adopted', 'person', 'warned')), 
	CONSTRAINT entry_period_of_positions CHECK (resource = 'repayment' OR period = ''), 
	CONSTRAINT entry_resource CHECK (resource IN ('journal', 'loan_draft', 'repayment')), 
	CONSTRAINT entry_refused_with_reasons CHECK (state <> 'refused' OR refusals IS NOT NULL), 
	CONSTRAINT entry_waiting_for_something CHECK (state <> 'waiting' OR reason IS NOT NULL), 
	CONSTRAINT entry_state CHECK (state IN ('ready', 'waiting', 'refused', 'sending', 'in_doubt', 'delivered', 'superseded', 'withdrawn', 'discarded')), 
	CONSTRAINT entry_sent_with_body CHECK (state NOT IN ('ready', 'sending') OR body IS NOT NULL), 
	CONSTRAINT entry_resource_identity_version_key UNIQUE (resource, identity, version)
);
INSERT INTO "entry" VALUES(1,'loan_draft','000000001',1,'delivered',NULL,'receipt',NULL,'loan_draft','1','000000001','000000001','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"loan_draft_uuid":"7"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','2026-11-23T09:00:01.000000Z',NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(2,'loan_draft','000000002',1,'in_doubt','answer_lost',NULL,NULL,'loan_draft','2','000000002','000000002','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(3,'loan_draft','000000003',1,'refused',NULL,NULL,NULL,'loan_draft','3','000000003','000000003','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll','[{"code":"kiva_said_no","field":"amount","params":{}}]',NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(4,'loan_draft','000000004',1,'ready',NULL,NULL,NULL,'loan_draft','4','000000004','000000004','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:01:01.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(5,'loan_draft','000000005',1,'sending',NULL,NULL,NULL,'loan_draft','5','000000005','000000005','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:00.000000Z',NULL,NULL,2,'{"amount":1}');
INSERT INTO "entry" VALUES(6,'repayment','000000001',1,'delivered',NULL,'receipt',NULL,'repayment','1','000000001','000000001','',NULL,NULL,'2026-10','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"upload_id":"7"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','2026-11-23T09:00:01.000000Z',NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(7,'repayment','000000002',1,'in_doubt','answer_lost',NULL,NULL,'repayment','2','000000002','000000002','',NULL,NULL,'2026-10','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(8,'repayment','000000003',1,'refused',NULL,NULL,NULL,'repayment','3','000000003','000000003','',NULL,NULL,'2026-10','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll','[{"code":"kiva_said_no","field":"amount","params":{}}]',NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(9,'repayment','000000004',1,'ready',NULL,NULL,NULL,'repayment','4','000000004','000000004','',NULL,NULL,'2026-10','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:01:01.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(10,'repayment','000000005',1,'sending',NULL,NULL,NULL,'repayment','5','000000005','000000005','',NULL,NULL,'2026-10','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:00.000000Z',NULL,NULL,2,'{"amount":1}');
INSERT INTO "entry" VALUES(11,'journal','000000001',1,'delivered',NULL,'receipt',NULL,'journal','1','000000001','000000001','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"archive_id":"7"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','2026-11-23T09:00:01.000000Z',NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(12,'journal','000000002',1,'in_doubt','answer_lost',NULL,NULL,'journal','2','000000002','000000002','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(13,'journal','000000003',1,'refused',NULL,NULL,NULL,'journal','3','000000003','000000003','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll','[{"code":"kiva_said_no","field":"amount","params":{}}]',NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(14,'journal','000000004',1,'ready',NULL,NULL,NULL,'journal','4','000000004','000000004','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:01:01.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z',NULL,NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(15,'journal','000000005',1,'sending',NULL,NULL,NULL,'journal','5','000000005','000000005','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:00.000000Z',NULL,NULL,2,'{"amount":1}');
INSERT INTO "entry" VALUES(16,'repayment','000000015',1,'delivered','problem_without_loan','warned',NULL,'repayment','15','000000015','000000015','',NULL,NULL,'2026-10','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"upload_id":"8"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:01.000000Z','2026-11-23T09:00:01.000000Z',NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(17,'repayment','000000016',1,'withdrawn','closed_unknown',NULL,NULL,'repayment','16','000000016','000000016','',NULL,NULL,'2026-09','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:03.000000Z','2026-11-23T09:00:03.000000Z',NULL,4,'{"amount":1}');
INSERT INTO "entry" VALUES(18,'journal','000000006',1,'waiting','loan_not_at_kiva',NULL,NULL,'journal','6','000000006','000000006','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:00.000000Z',NULL,NULL,1,'{"amount":1}');
INSERT INTO "entry" VALUES(19,'loan_draft','000000007',1,'refused',NULL,NULL,NULL,'loan_draft.individual','7','000000007','000000007','',NULL,NULL,'',NULL,NULL,'1:abc','poll','[{"code":"name_empty","field":"entreps[0].first_name","params":{}}]',NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:00.000000Z',NULL,NULL,1,NULL);
INSERT INTO "entry" VALUES(20,'loan_draft','000000008',1,'delivered',NULL,'adopted',NULL,'loan_draft.individual','8','000000008','000000008','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"kiva_id":"k8","status":"fundRaising"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:00.000000Z','2026-11-23T09:00:00.000000Z',NULL,1,'{"amount":1}');
INSERT INTO "entry" VALUES(21,'loan_draft','000000009',1,'superseded',NULL,NULL,NULL,'loan_draft.individual','9','000000009','000000009','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:02.000000Z','2026-11-23T09:00:02.000000Z',NULL,2,'{"amount":1}');
INSERT INTO "entry" VALUES(22,'loan_draft','000000009',2,'ready',NULL,NULL,NULL,'loan_draft.individual','9','000000009','000000009','',NULL,NULL,'','a2879a37ea1e0b8938f44d782c2ff3887f30554da489efc8634d658a95a1094d',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:02.000000Z','2026-11-23T09:00:02.000000Z',NULL,NULL,1,'{"amount":2}');
INSERT INTO "entry" VALUES(23,'loan_draft','000000010',1,'withdrawn','left_scope',NULL,NULL,'loan_draft.individual','10','000000010','000000010','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:03.000000Z','2026-11-23T09:00:03.000000Z',NULL,2,'{"amount":1}');
INSERT INTO "entry" VALUES(24,'loan_draft','000000002',2,'waiting','older_in_flight',NULL,2,'loan_draft.individual','2','000000002','000000002','',NULL,NULL,'','a2879a37ea1e0b8938f44d782c2ff3887f30554da489efc8634d658a95a1094d',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:02.000000Z','2026-11-23T09:00:02.000000Z',NULL,NULL,1,'{"amount":2}');
INSERT INTO "entry" VALUES(25,'loan_draft','000000011',1,'in_doubt','known_from_witness',NULL,NULL,'','','000000011','000000011','',NULL,NULL,'',NULL,NULL,NULL,'witness',NULL,NULL,NULL,'2026-11-23T09:00:03.000000Z',NULL,0,'2026-11-23T09:00:03.000000Z','2026-11-23T09:00:03.000000Z',NULL,NULL,1,NULL);
INSERT INTO "entry" VALUES(26,'loan_draft','000000012',1,'delivered',NULL,'person',NULL,'loan_draft.individual','12','000000012','000000012','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"note":"seen in PA2"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:05.000000Z','2026-11-23T09:00:05.000000Z',NULL,2,'{"amount":1}');
INSERT INTO "entry" VALUES(27,'loan_draft','000000013',1,'discarded','person',NULL,NULL,'loan_draft.individual','13','000000013','000000013','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,NULL,NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:05.000000Z','2026-11-23T09:00:05.000000Z',NULL,2,'{"amount":1}');
INSERT INTO "entry" VALUES(28,'loan_draft','000000014',1,'delivered',NULL,'look_up',NULL,'loan_draft.individual','14','000000014','000000014','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"kiva_id":"k14","status":"inactive"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:00.000000Z','2026-11-23T09:00:09.000000Z','2026-11-23T09:00:09.000000Z',NULL,4,'{"amount":1}');
INSERT INTO "entry" VALUES(29,'loan_draft','000000021',1,'delivered',NULL,'receipt',NULL,'loan_draft.individual','21','000000021','000000021','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"loan_draft_uuid":"u"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:20.000000Z','2026-11-23T09:00:01.000000Z','2026-11-23T09:00:01.000000Z',NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(30,'loan_draft','000000022',1,'delivered',NULL,'receipt',NULL,'loan_draft.individual','22','000000022','000000022','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"loan_draft_uuid":"u"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:20.000000Z','2026-11-23T09:00:01.000000Z','2026-11-23T09:00:01.000000Z',NULL,3,'{"amount":1}');
INSERT INTO "entry" VALUES(31,'loan_draft','000000023',1,'delivered',NULL,'receipt',NULL,'loan_draft.individual','23','000000023','000000023','',NULL,NULL,'','c2b11e657e12fd177359627ca89412018e2274d0873cfbfcf1fc50f685582e9e',NULL,'1:abc','poll',NULL,'{"loan_draft_uuid":"u"}',NULL,'2026-11-23T09:00:00.000000Z',NULL,0,'2026-11-23T09:00:20.000000Z','2026-11-23T09:00:01.000000Z','2026-11-23T09:00:01.000000Z',NULL,3,'{"amount":1}');
CREATE TABLE hold (
	id INTEGER NOT NULL, 
	what TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	params TEXT NOT NULL, 
	since TEXT NOT NULL, 
	held_by TEXT NOT NULL, 
	note TEXT DEFAULT '' NOT NULL, 
	allowance INTEGER DEFAULT '0' NOT NULL, 
	released_at TEXT, 
	released_by TEXT, 
	release_note TEXT, 
	CONSTRAINT hold_pkey PRIMARY KEY (id), 
	CONSTRAINT hold_allowance CHECK (allowance >= 0)
);
INSERT INTO "hold" VALUES(1,'all','another_partner','{"attempts_then":21,"number":0}','2026-11-23T09:00:50.000000Z','the relay','',0,'2026-11-23T09:01:20.000000Z','awa','looked');
INSERT INTO "hold" VALUES(2,'loan_draft','asked','{"number":1}','2026-11-23T09:00:51.000000Z','the relay','',5,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(3,'stream:journal','brake','{"number":2}','2026-11-23T09:00:52.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(4,'all','clock','{"number":3}','2026-11-23T09:00:53.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(5,'loan_draft','destination_fault','{"number":4}','2026-11-23T09:00:54.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(6,'stream:journal','first_report','{"number":5}','2026-11-23T09:00:55.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(7,'all','first_start','{"number":6}','2026-11-23T09:00:56.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(8,'loan_draft','list_unreadable','{"number":7}','2026-11-23T09:00:57.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(9,'stream:journal','many_in_doubt','{"number":8}','2026-11-23T09:00:58.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(10,'all','many_left','{"number":9}','2026-11-23T09:00:59.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(11,'loan_draft','many_refusals','{"number":10}','2026-11-23T09:01:00.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(12,'stream:journal','mapping_changes_much','{"number":11}','2026-11-23T09:01:01.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(13,'all','mapping_examined','{"number":12}','2026-11-23T09:01:02.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(14,'loan_draft','mis_went_back','{"number":13}','2026-11-23T09:01:03.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(15,'stream:journal','restored_outbox','{"number":14}','2026-11-23T09:01:04.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(16,'all','scope_missing','{"number":15}','2026-11-23T09:01:05.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(17,'loan_draft','values_vanished','{"number":16}','2026-11-23T09:01:06.000000Z','the relay','',0,NULL,NULL,NULL);
INSERT INTO "hold" VALUES(18,'stream:journal','witness_missing','{"number":17}','2026-11-23T09:01:07.000000Z','the relay','',0,NULL,NULL,NULL);
CREATE TABLE lease (
	id INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	holder TEXT, 
	expires_at TEXT, 
	CONSTRAINT lease_pkey PRIMARY KEY (id), 
	CONSTRAINT lease_one_row CHECK (id = 1)
);
INSERT INTO "lease" VALUES(1,3,NULL,NULL);
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT meta_pkey PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('outbox_id','0123456789abcdef');
INSERT INTO "meta" VALUES('api_url','http://127.0.0.1:8765');
INSERT INTO "meta" VALUES('partner_id','123');
INSERT INTO "meta" VALUES('mis','postgresql fineract_default');
INSERT INTO "meta" VALUES('first_start','2026-11-14T09:00:00+00:00');
INSERT INTO "meta" VALUES('witness','{"last":"0a","known":{"file":"0a"},"excused":0}');
INSERT INTO "meta" VALUES('known_attempts','{"fedcba9876543210":4}');
INSERT INTO "meta" VALUES('report','2026-11');
INSERT INTO "meta" VALUES('timeline of the MIS','1');
INSERT INTO "meta" VALUES('loan ids','{"L-871":"000000871"}');
INSERT INTO "meta" VALUES('replication','{"slot":"kiva_relay","place":23456789}');
INSERT INTO "meta" VALUES('reload_result','{"at":"2026-11-23T09:00:00+00:00","ok":true,"text":"in force","asked":""}');
INSERT INTO "meta" VALUES('text of loan_draft.individual','format: 1
');
INSERT INTO "meta" VALUES('fingerprint of loan_draft.individual','1:abc');
INSERT INTO "meta" VALUES('seen loan_draft.individual','1:abc');
INSERT INTO "meta" VALUES('filled loan_draft.individual','{"new":{"of":2,"filled":{"amount":2},"last":{"871":["amount"]}}}');
INSERT INTO "meta" VALUES('text of journal','format: 1
');
INSERT INTO "meta" VALUES('fingerprint of journal','1:abc');
INSERT INTO "meta" VALUES('seen journal','1:abc');
INSERT INTO "meta" VALUES('filled journal','{"new":{"of":2,"filled":{"amount":2},"last":{"871":["amount"]}}}');
INSERT INTO "meta" VALUES('revision of journal','{"newest":3,"waiting":2,"period":"","at":"2026-11-23T09:00:00+00:00","upgrade":null}');
CREATE TABLE mirror (
	kiva_id TEXT NOT NULL, 
	loan_id TEXT NOT NULL, 
	loan_fold TEXT NOT NULL, 
	client_id TEXT NOT NULL, 
	status TEXT NOT NULL, 
	amount TEXT, 
	currency TEXT, 
	first_seen INTEGER NOT NULL, 
	missed_by INTEGER, 
	CONSTRAINT mirror_pkey PRIMARY KEY (kiva_id), 
	CONSTRAINT mirror_first_seen_fkey FOREIGN KEY(first_seen) REFERENCES mirror_refresh (id), 
	CONSTRAINT mirror_missed_by_fkey FOREIGN KEY(missed_by) REFERENCES mirror_refresh (id)
);
INSERT INTO "mirror" VALUES('k8','000000008','000000008','c8','fundRaising','100.00','XOF',1,NULL);
CREATE TABLE mirror_refresh (
	id INTEGER NOT NULL, 
	started_at TEXT NOT NULL, 
	ended_at TEXT, 
	complete BOOLEAN NOT NULL, 
	listed INTEGER, 
	detail TEXT, 
	CONSTRAINT mirror_refresh_pkey PRIMARY KEY (id)
);
INSERT INTO "mirror_refresh" VALUES(1,'2026-11-23T09:00:30.000000Z','2026-11-23T09:00:31.000000Z',1,1,NULL);
INSERT INTO "mirror_refresh" VALUES(2,'2026-11-23T09:00:40.000000Z','2026-11-23T09:00:41.000000Z',0,0,'the counts changed');
CREATE TABLE scan (
	stream TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	since TEXT NOT NULL, 
	total INTEGER NOT NULL, 
	done INTEGER NOT NULL, 
	found INTEGER NOT NULL, 
	gone INTEGER NOT NULL, 
	missed INTEGER NOT NULL, 
	at TEXT, 
	CONSTRAINT scan_pkey PRIMARY KEY (stream), 
	CONSTRAINT scan_kind CHECK (kind IN ('backfill', 'sweep', 'edit')), 
	CONSTRAINT scan_counts CHECK (number > 0 AND total >= 0 AND done >= 0 AND missed >= 0), 
	CONSTRAINT scan_gone_is_found CHECK (gone >= 0 AND found >= gone), 
	CONSTRAINT scan_counted_by_a_page CHECK (at IS NOT NULL OR (done = 0 AND found = 0)), 
	CONSTRAINT scan_stream_fkey FOREIGN KEY(stream) REFERENCES watermark (stream)
);
INSERT INTO "scan" VALUES('loan_draft.individual',1,'backfill','2026-11-23T09:00:00.000000Z',40,40,40,0,0,'2026-11-23T09:00:09.000000Z');
INSERT INTO "scan" VALUES('repayment',3,'sweep','2026-11-23T09:00:00.000000Z',40,12,3,1,2,'2026-11-23T09:00:04.000000Z');
INSERT INTO "scan" VALUES('journal',2,'edit','2026-11-23T09:00:00.000000Z',8,0,0,0,0,NULL);
CREATE TABLE tally (
	resource TEXT NOT NULL, 
	period TEXT NOT NULL, 
	line TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	CONSTRAINT tally_pkey PRIMARY KEY (resource, period, line), 
	CONSTRAINT tally_resource CHECK (resource IN ('journal', 'loan_draft', 'repayment')), 
	CONSTRAINT tally_line CHECK (line IN ('delivered', 'adopted'))
);
INSERT INTO "tally" VALUES('loan_draft','','delivered',6);
INSERT INTO "tally" VALUES('repayment','2026-10','delivered',2);
INSERT INTO "tally" VALUES('journal','','delivered',1);
INSERT INTO "tally" VALUES('loan_draft','','adopted',1);
CREATE TABLE watermark (
	stream TEXT NOT NULL, 
	generation INTEGER DEFAULT '1' NOT NULL, 
	w TEXT, 
	mode TEXT, 
	moved_at TEXT, 
	scan TEXT, 
	scan_number INTEGER DEFAULT '0' NOT NULL, 
	scan_after TEXT, 
	scan_started_at TEXT, 
	backfilled_at TEXT, 
	swept_at TEXT, 
	CONSTRAINT watermark_pkey PRIMARY KEY (stream), 
	CONSTRAINT watermark_scan CHECK (scan IS NULL OR scan IN ('backfill', 'sweep', 'leaving'))
);
INSERT INTO "watermark" VALUES('loan_draft.individual',1,'{"server": "postgresql fineract_default", "xid": "17", "moment": "2026-11-23T09:00:00+00:00"}','poll','2026-11-23T09:00:00.000000Z',NULL,1,NULL,NULL,'2026-11-23T09:00:09.000000Z','2026-11-23T09:00:09.000000Z');
INSERT INTO "watermark" VALUES('repayment',1,'{"server": "postgresql fineract_default", "xid": "17", "moment": "2026-11-23T09:00:00+00:00"}','poll','2026-11-23T09:00:00.000000Z','sweep',3,'12','2026-11-23T09:00:00.000000Z',NULL,NULL);
INSERT INTO "watermark" VALUES('journal',1,'{"server": "postgresql fineract_default", "xid": "17", "moment": "2026-11-23T09:00:00+00:00"}','poll','2026-11-23T09:00:00.000000Z','leaving',2,NULL,'2026-11-23T09:00:00.000000Z',NULL,NULL);
INSERT INTO "watermark" VALUES('loan_draft.group',1,NULL,NULL,NULL,'backfill',1,NULL,NULL,NULL,NULL);
CREATE INDEX captured_unseen ON captured (stream, "key") WHERE unseen;
CREATE INDEX captured_again ON captured (stream, "key") WHERE again;
CREATE INDEX captured_resource_identity ON captured (resource, identity);
CREATE INDEX entry_by_key ON entry (stream, "key");
CREATE INDEX entry_by_loan ON entry (loan_fold);
CREATE INDEX entry_by_state ON entry (state, resource, due_at);
CREATE INDEX entry_standing ON entry (resource, identity, version) WHERE state NOT IN ('delivered', 'superseded', 'withdrawn');
CREATE INDEX entry_at_kiva ON entry (resource, identity, version, period) WHERE state = 'delivered';
CREATE INDEX entry_with_values ON entry (settled_at) WHERE (body IS NOT NULL OR refusals IS NOT NULL AND hashes IS NULL);
CREATE INDEX entry_by_hand ON entry (loan_fold) WHERE origin = 'person' AND state = 'delivered';
CREATE INDEX entry_newly_owed ON entry (resource, created_at) WHERE version = 1 AND origin <> 'backfill';
CREATE INDEX entry_closed_unknown ON entry (id) WHERE reason = 'closed_unknown' AND done_at IS NULL;
CREATE INDEX entry_undecided ON entry (id) WHERE reason IN ('position_exceeds_principal', 'position_fell') AND done_at IS NULL;
CREATE INDEX entry_warned ON entry (id) WHERE evidence = 'warned';
CREATE INDEX entry_open ON entry (resource, state, stream, reason, waits_for, due_at, changed_at, created_at, publish_by, done_at, loan_id, identity, version, settled_at) WHERE settled_at IS NULL;
CREATE INDEX entry_due ON entry (resource, publish_by, id) WHERE state = 'ready';
CREATE INDEX entry_ended ON entry (settled_at, state, evidence, resource) WHERE settled_at IS NOT NULL;
CREATE INDEX entry_position ON entry (loan_id, period, state, reason) WHERE resource = 'repayment' AND state <> 'superseded';
CREATE INDEX entry_left_at_closing ON entry (period, loan_id) WHERE state = 'withdrawn' AND reason IN ('window_closed', 'closed_unknown', 'position_fell', 'position_exceeds_principal');
CREATE UNIQUE INDEX entry_once_in_its_life ON entry (resource, identity) WHERE resource IN ('journal', 'loan_draft') AND state IN ('sending', 'in_doubt', 'delivered');
CREATE UNIQUE INDEX entry_one_in_flight ON entry (resource, identity) WHERE state IN ('sending', 'in_doubt');
CREATE UNIQUE INDEX entry_one_ready ON entry (resource, identity) WHERE state = 'ready';
CREATE UNIQUE INDEX entry_one_waiting ON entry (resource, identity) WHERE state = 'waiting';
CREATE UNIQUE INDEX hold_in_force ON hold (what, reason) WHERE released_at IS NULL;
CREATE INDEX attempt_batch_id ON attempt (batch_id);
CREATE INDEX attempt_by_outcome ON attempt (resource, outcome, id);
CREATE INDEX attempt_open ON attempt (id) WHERE ended_at IS NULL;
CREATE INDEX attempt_with_words ON attempt (ended_at) WHERE (detail IS NOT NULL OR problems IS NOT NULL);
CREATE INDEX batch_member_entry_id ON batch_member (entry_id);
CREATE UNIQUE INDEX divergence_open ON divergence (entry_id) WHERE ended_at IS NULL;
CREATE INDEX divergence_by_entry ON divergence (entry_id, id);
CREATE INDEX divergence_seen ON divergence (entry_id, id) WHERE ended_by NOT IN ('a newer difference', 'the MIS');
CREATE INDEX mirror_loan_fold ON mirror (loan_fold);
CREATE INDEX mirror_missed ON mirror (missed_by) WHERE missed_by IS NOT NULL;
CREATE INDEX mirror_status ON mirror (status);
COMMIT;
