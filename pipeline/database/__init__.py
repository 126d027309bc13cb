"""The SQL database: engines, tables, migrations."""
