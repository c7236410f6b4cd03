"""Skills: versioned instructions and files that agents read. The public interface."""

from stoa.skills.archives import ArchiveError
from stoa.skills.service import Skills
from stoa.skills.types import Skill, SkillVersion

__all__ = ["ArchiveError", "Skill", "SkillVersion", "Skills"]
