"""A snapshot in the forms that trainers and other tools read: one module a form, all of them made from the same laid-out rows.

What is written here is plain files from plain files: `export_files.lay_out` asks the database, everything else runs in a
process that has none.
"""
