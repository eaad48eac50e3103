"""The tables of what a router learns: policies, the one that serves, shadow pairs; what replay needs of a request.

`serving` is a pile: the policy with the highest place serves, under it lies the one to go back to, under all of them
the configuration's own.
"""

LEARNING = """
    CREATE TABLE policies (
        revision TEXT PRIMARY KEY,
        created TEXT NOT NULL,
        document TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE serving (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        revision TEXT NOT NULL REFERENCES policies (revision),
        since TEXT NOT NULL
    );
    CREATE TABLE shadow_pairs (
        tenant TEXT NOT NULL,
        request_id TEXT NOT NULL,
        time TEXT NOT NULL,
        policy_revision TEXT NOT NULL,
        lower_tier INTEGER NOT NULL,
        upper_tier INTEGER NOT NULL,
        lower_score REAL NOT NULL,
        upper_score REAL NOT NULL,
        PRIMARY KEY (tenant, request_id)
    ) WITHOUT ROWID;
    CREATE INDEX shadow_pairs_by_time ON shadow_pairs (time);
    CREATE INDEX outcomes_by_time ON outcomes (time);
    ALTER TABLE requests ADD COLUMN estimated_costs TEXT NOT NULL DEFAULT '{}';
"""
