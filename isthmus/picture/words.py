"""What the picture says, in English and Chinese."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Lang(StrEnum):
    """In which language."""

    BOTH = "both"
    EN = "en"
    ZH = "zh"


@dataclass(frozen=True, slots=True)
class Word:
    """Something said in two languages."""

    en: str
    zh: str

    def plain(self, lang: Lang) -> str:
        """The words as text; both languages beside each other where both are wanted."""
        if lang is Lang.BOTH:
            return f"{self.en} {self.zh}"
        return self.en if lang is Lang.EN else self.zh

    def filled(self, **values: object) -> "Word":
        """The same with its `{places}` filled."""
        return Word(self.en.format(**values), self.zh.format(**values))


TITLE: Final = Word("Who shares with whom", "政务数据共享图谱")
PERIOD: Final = Word("{first} to {last}", "{first} 至 {last}")
NOBODY: Final = Word("No department takes part yet.", "尚无部门参与。")
FINDING: Final = Word(
    "{sharing} of {possible} possible links between departments carry data; {unused} of the {offered} datasets on offer "
    "were used by no other department.",
    "部门之间 {possible} 条可能的共享关系中，{sharing} 条有数据流动；{offered} 个已编目数据集中，{unused} 个从未被其他部门使用。",
)
ISLANDS: Final = Word(
    "Islands, of whom nobody used anything: {names}.", "信息孤岛（无任何数据被其他部门使用）：{names}。"
)
NO_ISLANDS: Final = Word("No department is an island.", "没有部门是信息孤岛。")

MAP: Final = Word("Heat map", "共享热力图")
MAP_NOTE: Final = Word(
    "Each row gives, each column receives. A cell counts the exchanges that were allowed.",
    "行为提供方，列为使用方；单元格为获准的交换次数。",
)
GIVES: Final = Word("gives", "提供方")
RECEIVES: Final = Word("receives", "使用方")
SILO: Final = Word("Silo index", "孤岛指数")
SILO_NOTE: Final = Word(
    "Silo index: the share of what a department offers that no other department used.",
    "孤岛指数：部门已编目数据集中未被其他部门使用的比例。",
)
NONE: Final = Word("no contract, nothing shared", "无合约、未共享")
UNUSED: Final = Word("contract in force, nothing given", "已签约、未使用")
REFUSED_ONLY: Final = Word("asked, never allowed", "有请求、均未获准")
FEW: Final = Word("few", "少")
MANY: Final = Word("many", "多")
ITSELF: Final = Word("itself", "本部门")

SCORECARD: Final = Word("Scorecard", "部门记分卡")
OFFERS: Final = Word("What each offers, and how it answers", "目录与答复")
FLOWS: Final = Word("What flows, and where sharing is weak", "数据流动与弱共享")
DEPARTMENT: Final = Word("Department", "部门")
ALL: Final = Word("All departments", "全部部门")
DATASETS: Final = Word("Datasets", "数据集")
OFFERED: Final = Word("offered", "已编目")
AGREED: Final = Word("under contract", "已签约")
USED: Final = Word("used", "已使用")
ANSWERS: Final = Word("Answers to proposals", "对共享申请的答复")
IN_TIME: Final = Word("in time", "按时")
LATE: Final = Word("late", "逾期")
NEVER: Final = Word("never", "未答复")
WAITING: Final = Word("open", "待答复")
WORKDAYS: Final = Word("median days", "工作日中位数")
EXCHANGES: Final = Word("Exchanges with it", "被请求交换")
ALLOWED: Final = Word("allowed", "获准")
DENIED: Final = Word("denied", "拒绝")
FAILED: Final = Word("failed", "失败")
WEAK: Final = Word("Weak sharing", "弱共享")
WEAK_KINDS: Final = {
    "late": Word("late", "迟供"),
    "stale": Word("stale", "目录陈旧"),
    "partial": Word("partial", "部分供给"),
    "throttled": Word("throttled", "限额受阻"),
    "unused": Word("unused", "签而未用"),
}
AVOIDED: Final = Word("facts not asked again", "避免重复采集")
RECEIVED: Final = Word("It received", "获得数据")
TIMES: Final = Word("answers", "次数")

REASONS: Final = Word("Why not", "未共享的原因")
REJECTIONS: Final = Word("Proposals rejected", "申请被拒")
DENIALS: Final = Word("Exchanges denied", "交换被拒")
NO_REASONS: Final = Word("None in this period.", "本期无。")
IDLE: Final = Word("Datasets that no other department used", "未被其他部门使用的数据集")
MORE: Final = Word("and {count} more", "及另外 {count} 个")
CLASS_REFUSED: Final = Word("not to be shared", "不予共享")

SOURCE: Final = Word(
    "Counted from the first {size} records of the log, as of {as_of}.",
    "依据审计日志前 {size} 条记录计算，截至 {as_of}。",
)
ROOT: Final = Word("Root of these records", "日志根哈希")
CONTEST: Final = Word(
    "Anybody who holds the log can recompute every figure:", "任何持有日志者均可重新计算每一项数字："
)
