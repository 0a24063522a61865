-- Domains of mail addresses that tenants have entered, as JSON; and which tenant has proved which domain.
ALTER TABLE tenants ADD COLUMN domains TEXT NOT NULL DEFAULT '[]';
CREATE TABLE proved_domains (domain TEXT PRIMARY KEY, tenant_id BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX proved_domains_of_tenant ON proved_domains (tenant_id);
