"""The processes behind `forge serve`.

    command      the process that was typed: reads the desired state from the database, writes what became of it
    supervisor   single-threaded, no event loop, no model: forks the others and respawns what ends
    worker       one model version behind a Unix socket, predicting batches by LitServe's `LitAPI` hooks
    gateway      HTTP: admission, validation, deadlines, answers; connected to every worker

They tell one another JSON lines (`messages`, `channel`); requests travel as binary frames (`frames`).
"""
