"""``helm-ase label``: computes labels of many structures in parallel; interrupted campaigns can be continued.

A campaign hands structures to Dask workers; each worker keeps one child process that computes and is
killed when it exceeds its time or memory; the campaign writes every answer to a journal at once, and in the
end moves the journal's contents into the label file.
"""

from helm_ase.labelling.campaign import Campaign, CampaignSettings, run_campaign
from helm_ase.labelling.structures import read_structures

__all__ = ["Campaign", "CampaignSettings", "read_structures", "run_campaign"]
