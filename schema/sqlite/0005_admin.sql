-- What admins look at. email_asserted_at: an admin said that the address is right; it proves nothing, and signs nobody in.
-- name_key: the display name in lower case, for the search.
ALTER TABLE users ADD COLUMN email_asserted_at INTEGER;
ALTER TABLE users ADD COLUMN name_key TEXT;
UPDATE users SET name_key = lower(display_name) WHERE display_name IS NOT NULL;

-- Copies of the account's status, kept by the triggers below, so that each list of a tenant is one stretch of one index.
ALTER TABLE memberships ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE memberships ADD COLUMN deleted_at INTEGER;
UPDATE memberships SET (suspended, deleted_at) = (SELECT status = 'suspended', deleted_at FROM users WHERE id = user_id);
CREATE INDEX members_by_status ON memberships (tenant_id, suspended, user_id) WHERE deleted_at IS NULL;
CREATE INDEX members_in_bin ON memberships (tenant_id, deleted_at, user_id) WHERE deleted_at IS NOT NULL;

-- Addresses and names of an organization's members, in lower case: a search is a stretch of it. Personal tenants need none.
CREATE TABLE member_search (
    tenant_id BLOB NOT NULL,
    term TEXT NOT NULL,
    user_id BLOB NOT NULL,
    PRIMARY KEY (tenant_id, term, user_id)
) STRICT, WITHOUT ROWID;
INSERT INTO member_search
    SELECT m.tenant_id, u.email, u.id FROM memberships m JOIN users u ON u.id = m.user_id JOIN tenants t ON t.id = m.tenant_id
    WHERE t.kind = 'organization'
    UNION
    SELECT m.tenant_id, u.name_key, u.id FROM memberships m JOIN users u ON u.id = m.user_id JOIN tenants t ON t.id = m.tenant_id
    WHERE t.kind = 'organization' AND u.name_key IS NOT NULL;

CREATE TRIGGER member_joined AFTER INSERT ON memberships BEGIN
    INSERT INTO member_search
        SELECT NEW.tenant_id, u.email, u.id FROM users u JOIN tenants t ON t.id = NEW.tenant_id
        WHERE u.id = NEW.user_id AND t.kind = 'organization'
        ON CONFLICT DO NOTHING;
    INSERT INTO member_search
        SELECT NEW.tenant_id, u.name_key, u.id FROM users u JOIN tenants t ON t.id = NEW.tenant_id
        WHERE u.id = NEW.user_id AND t.kind = 'organization' AND u.name_key IS NOT NULL
        ON CONFLICT DO NOTHING;
    UPDATE memberships SET (suspended, deleted_at) = (SELECT status = 'suspended', deleted_at FROM users WHERE id = NEW.user_id)
        WHERE user_id = NEW.user_id AND tenant_id = NEW.tenant_id
        AND EXISTS (SELECT 1 FROM users WHERE id = NEW.user_id AND (status <> 'active' OR deleted_at IS NOT NULL));
END;

-- Whoever removes an account removes its memberships first: afterwards nobody would know its terms.
CREATE TRIGGER member_left AFTER DELETE ON memberships BEGIN
    DELETE FROM member_search WHERE tenant_id = OLD.tenant_id AND user_id = OLD.user_id AND term IN
        (SELECT email FROM users WHERE id = OLD.user_id UNION ALL SELECT name_key FROM users WHERE id = OLD.user_id);
END;

CREATE TRIGGER user_renamed AFTER UPDATE OF email, name_key ON users
WHEN OLD.email <> NEW.email OR OLD.name_key IS NOT NEW.name_key BEGIN
    DELETE FROM member_search WHERE tenant_id IN (SELECT tenant_id FROM memberships WHERE user_id = NEW.id)
        AND term IN (OLD.email, OLD.name_key) AND user_id = NEW.id;
    INSERT INTO member_search
        SELECT m.tenant_id, NEW.email, NEW.id FROM memberships m JOIN tenants t ON t.id = m.tenant_id
        WHERE m.user_id = NEW.id AND t.kind = 'organization'
        ON CONFLICT DO NOTHING;
    INSERT INTO member_search
        SELECT m.tenant_id, NEW.name_key, NEW.id FROM memberships m JOIN tenants t ON t.id = m.tenant_id
        WHERE m.user_id = NEW.id AND t.kind = 'organization' AND NEW.name_key IS NOT NULL
        ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER user_turned AFTER UPDATE OF status, deleted_at ON users
WHEN OLD.status <> NEW.status OR OLD.deleted_at IS NOT NEW.deleted_at BEGIN
    UPDATE memberships SET suspended = (NEW.status = 'suspended'), deleted_at = NEW.deleted_at WHERE user_id = NEW.id;
END;

-- Deleted tenants on their way out. reached: members up to this one have been seen to; null once all have.
CREATE TABLE tenant_endings (
    tenant_id BLOB PRIMARY KEY NOT NULL,
    deleted_at INTEGER NOT NULL,
    reached BLOB
) STRICT, WITHOUT ROWID;

-- One row: how often something was erased since unused space was last wiped, where rows that were moved left remnants.
CREATE TABLE scrubbing (
    erased INTEGER NOT NULL
) STRICT;
INSERT INTO scrubbing VALUES (0);
