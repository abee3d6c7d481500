"""What every number of an evaluation means, in words; ``evaluation.json`` carries them too."""

from __future__ import annotations

from dtsinn.evaluation.limits import LIMITS
from dtsinn.evaluation.metrics import FEWEST
from dtsinn.kinetics.curves import FEWEST_PIXELS, FEWEST_SUBJECTS
from dtsinn.networks.build import baselines

DEFINITIONS = {
    "psnr": "Peak signal-to-noise ratio of a subject and tracer in dB: 10 log10(peak² / MSE). The "
    "MSE is taken over body pixels, all slices of the subject and all frames that start at or "
    "after that tracer's injection; the peak is the maximum of the noise-free tracer over the "
    "same set. A cell gives the mean of the two tracers, then over subjects. Higher is better.",
    "body": "Pixels with a region label. Without labels: pixels where the duration-weighted mean "
    "of the mixture exceeds 5 % of its spatial maximum.",
    "ssim": "Structural similarity (Gaussian window of 1.5 pixels, K1 0.01, K2 0.03), slice by "
    "slice and frame by frame, with the peak of the PSNR as data range; mean over the same set "
    "as the PSNR. 1 is best.",
    "nrmse": "RMS error over the RMS of the true tracer, same set as the PSNR; a fraction.",
    "regional_bias": "Bias in percent of the area under a region's time-activity curve (mean over "
    "the region in all slices, not decay-corrected), from the tracer's injection to the end.",
    "before_injection": "RMS error in kBq/mL over body pixels in frames that start before the "
    "tracer's injection, where the truth is zero; 0 where there is no such frame.",
    "sum_residual": "RMS of (sum of the two answers - noisy mixture) over the RMS of the mixture, "
    "body pixels, all frames; a fraction. A network that removes noise has a residual.",
    "linear map": "The floor: ridge regression of both tracers' frames on the mixture's frames "
    "in a neighbourhood of 5 x 5 pixels, solved in closed form and applied as one convolution. "
    "'Fitted with the model': to the model's own training store, wherever pair and protocol are "
    "those of the training. 'Fitted for this cell': to simulated subjects of the cell's own pair, "
    "protocol, phantom and noise that nothing else uses, or to the train subjects of the store.",
    "over linear": "Mean PSNR minus that of the linear map on the same subjects, dB.",
    "halved mixture": "A baseline: each tracer is taken to be half of the mixture. No training.",
    "kinetic_error": "What a clinic reads from each region, fitted alike from the answer and from "
    "the truth (below): mean over subjects, then over the tracer's read-out regions, of |answer / "
    "truth - 1|, percent; then over the tracers. 'Worst' is the largest region. Left out and "
    f"counted are regions under {FEWEST_PIXELS} pixels in a subject, and those that fewer than "
    f"{FEWEST_SUBJECTS} subjects have, or not all where they are fewer.",
    "kinetic_bias": "Mean over regions of |mean over subjects of (answer / truth - 1)|, percent.",
    "left out": "Regions of single subjects that do not count, as kinetic_error says.",
    "SD": "Standard deviation over subjects of answer / truth - 1 of a region, percent; mean over "
    "regions.",
    "contrast recovery": "Contrast of a lesion over its background in the late image (decay-"
    "corrected mean from the read-out's start), answer over truth; 1 is best.",
    "contrast to noise": "Contrast of the answer over the standard deviation of its background; "
    "that of the truth is beside it, as backgrounds differ by anatomy.",
    "cross-talk": "Error of one tracer's lesion contrast over the true contrast of the other "
    "tracer: what of the other's lesion shows here. 0 is best.",
    "V_T": "Volume of distribution, mL/cm3: slope of Logan's plot (Logan et al. 1990).",
    "Ki": "Net influx rate, mL/cm3/min: slope of Patlak's plot (Patlak et al. 1983).",
    "K1": "Rate of uptake from plasma, mL/cm3/min, by a compartment model; only where frames of at "
    "most 30 s cover the first two minutes.",
    "DVR": "Distribution volume ratio: Logan's plot with a reference region (Logan et al. 1996).",
    "SUVR": "Mean uptake over that of the reference region, from the read-out's start to the end.",
    "single-tracer scan": "The same tracer, dose, frames and noise law, scanned alone: what a "
    "separation is held against. Simulated from the store's own request.",
    "conservation": "Sum of the answers minus the mixture, over the mixture, percent: of the body, "
    "of tiles of at least 2,000 body pixels, and per region against the noise-free sum, as a mean "
    "over subjects, where enough have it. Frames that contain an injection are not applicable.",
    "z": "A region's residual against the measured mixture over the standard deviation that the "
    "noise law predicts; 95 % of |z| are below 1.96 where nothing but noise is missed.",
    "n": "The number of subjects.",
    "interval": "95 % percentile bootstrap interval of the mean over subjects, 2000 resamples. "
    f"None is given of fewer than {FEWEST} subjects; with few it is too narrow.",
    "difference": "Mean PSNR of one series minus that of another on the same subjects, in pairs. "
    "Its interval is widened for few subjects (Hesterberg 2015). 'Beats' and 'loses to' mean that "
    "it leaves zero out; else 'level with'; 'no verdict' where there is no interval.",
    "novelty": "What of a cell the model's training had seen. The pair of tracers, the protocol "
    "(times of frames and injections; of a known pair those that it was trained in), the phantom "
    "and the noise (model and level) are each 'as trained', 'new', or 'unknown' where the store or "
    "the package does not say. What is new asks how far the model carries.",
    "trained on": "Pair and protocol are as trained, and neither phantom nor noise is new.",
    "limits": "What a separation is refused for: "
    + "; ".join(f"{limit.label} above {limit.text}" for limit in LIMITS)
    + ". The gate has the same and applies them at mid noise. To compare: partial-volume "
    "correction moves V_T by 12 % (Cysouw 2019). Where the answers' sum may miss more than that "
    "is uncited.",
    "paired kinetic error": "The kinetic_error of a model minus that of the linear map, subject by "
    "subject, percentage points; above 0 the model is worse.",
    "montage": "Worst and median are the subjects of the largest and the median kinetic_error, or "
    "of the lowest and the median PSNR where none can be read. The relative error is (answer / "
    "truth - 1) of a pixel, where the truth is at least 10 % of its maximum in the frame.",
    "subject": "Simulated subjects are counted from 1 for people; files name them by their id, "
    "whose number is one less: subject 17 is study-0-0016.",
}


def definitions() -> dict[str, str]:
    """What stands in a report, in sentences."""
    return DEFINITIONS | {baseline.title: baseline.description for baseline in baselines()}
