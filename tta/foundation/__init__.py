"""What every other part rests on, and what knows of none of them: no torch, no timm.

What a user is told (``text``, ``terminal``, ``errors``, ``notes``), names of parts
(``registry``), safe reading and writing (``files``, ``inputs``, ``lock``, ``pickles``,
``sealed``, ``yaml_files``), and how work ends (``stops``, ``orphans``, ``cores``).
"""
