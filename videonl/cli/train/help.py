"""The help pages of ``train.py``: short, and without importing torch."""

USAGE = """\
usage: train.py COMMAND [--config FILE.yaml] [--section.option value ...]

  fit        train a network on a folder of videos
  validate   accuracy on val/, with the views of the training
  test       accuracy on test/ (or val/), by the full protocol such as 10 clips x 3 crops
  predict    write class and probabilities of every video to a CSV file

  python train.py fit --data.root DIR                       DIR/{train,val}/<class>/<video>
  python train.py fit --config configs/sample.yaml          a whole experiment in one file
  python train.py test --checkpoint runs/NAME/DATE --data.root DIR

train.py COMMAND --help shows the usual options, --help_all shows all."""

COMMON = """\
data
  --data.root DIR              DIR/{train,val,test}/<class>/<video>, or DIR/<class>/<video>, of
                               which a fifth becomes val (--data.val_share, --data.group REGEX;
                               --data.val none: no validation)
  --data.official_split N      split 1, 2 or 3 of UCF-101 or HMDB-51, from their own lists (1)
  --data.frames N              frames per clip (default: what the network was made for)
  --data.stride N              step from frame to frame of a clip
  --data.short_side N          size to which the short side of a video is scaled
  --data.crop N                side of the square that the network sees
  --data.sampling NAME         dense: frames a stride apart; segments: spread over the whole video
  --data.picture NAME          crop: squares; whole: the whole picture, in --data.rectangle [H,W]
                               (default: crop² pixels, in the shape of most training videos)
  --data.batch_size N          clips per device (8)
  --data.num_workers N         processes that decode (one per core, at most 8)
device
  --trainer.accelerator NAME   auto, cpu, gpu (auto: a GPU where there is one)
  --trainer.devices N          how many (all)
"""

FIT = f"""\
usage: train.py fit --data.root DIR [--config FILE.yaml] [options]

Trains a network. All options can also be set in the file; the command line overrides it. Without a
file, missing settings are chosen from the data; the plan that is printed first shows them.

  --config FILE                settings of a whole experiment, see configs/
  --out DIR                    runs go to DIR/NAME/DATE_TIME/ (runs)
  --name NAME                  name of the run (default: data folder and network)
  --seed N                     random seed (0)
  --dry-run                    print the plan, with time and memory, and stop
  --resume auto|PATH           continue the newest run of that name, or a given run or checkpoint
network
  --model.name NAME            network; videonl models lists them (i3d_r50_nl5)
  --model.options.OPTION V     option of the network, such as --model.options.dropout 0.2
  --model.pretrained FILE      weights to start from: a file, a name, hf:USER/NAME; without a
                               --config, the recipe of configs/finetune.yaml is the default
  --model.compile true         torch.compile the network
{COMMON}  --trainer.precision NAME     auto: bf16-mixed on a GPU or a CPU with AMX, else 32-true
training
  --trainer.max_epochs N       passes over the training videos (20)
  --trainer.max_steps N        steps of the optimiser in place of epochs
  --trainer.accumulate_grad_batches N
  --trainer.gradient_clip_val X
  --recipe.learning_rate X     at a batch of --recipe.reference_batch 64; scales with the batch
  --recipe.optimizer NAME      sgd, adamw (--recipe.beta2 0.95 averages over fewer steps)
  --recipe.schedule NAME       cosine, step, constant
  --recipe.warmup X            share of the training in which the rate rises (0.05)
  --recipe.weight_decay X      (1e-4)
  --recipe.label_smoothing X   (0)
  --recipe.mixup X             alpha of mixup; --recipe.cutmix X likewise (0: off)
  --recipe.batch_norm NAME     train, frozen, sync
  --recipe.fresh_factor X      times the rate, for a new head and new non-local blocks
  --recipe.class_weights NAME  none, balanced
  --recipe.checkpoint_stages L stages such as [res2,res3] to recompute: saves memory, costs time
  --recipe.ema X               decay of a moving average of the weights, such as 0.999 (0: off)
classes of Lightning, or your own as package.module.Class
  --trainer.callbacks NAME     such as EarlyStopping, with its arguments (docs/lightning.md)
  --trainer.logger NAME        such as WandbLogger, MLFlowLogger, CSVLogger
  --trainer.strategy NAME      such as ddp; --trainer.profiler NAME likewise, such as simple

--help_all lists every option."""

EVALUATION = f"""\
  --checkpoint PATH            a checkpoint, or the folder of a run (its best checkpoint)
  --data.views CLIPSxCROPS     views per video; default: as the network was validated or published
  --protocol NAME              sample as a publisher's test: pyslowfast, pytorchvideo, caffe2,
                               mmaction2, gluoncv, torchvision, with the network's own clips
  --split NAME                 train, val or test (test where there is one, else val)
{COMMON}"""

VALIDATE = f"""\
usage: train.py validate --checkpoint PATH --data.root DIR [options]

Measures the accuracy on val/ as in training.

{EVALUATION.replace("--data.views CLIPSxCROPS    ", "--data.val_views CLIPSxCROPS")}
--help_all lists every option."""

TEST = f"""\
usage: train.py test --checkpoint PATH --data.root DIR [options]

Measures the accuracy per clip and per video as the network was validated or published, and writes
a result file.

  --json FILE                  the result file (default: beside the checkpoint)
{EVALUATION}
--help_all lists every option."""

PREDICT = f"""\
usage: train.py predict --checkpoint PATH --data.root DIR [options]

Writes the class and probabilities of every video of a data set. For single files use infer.py.

  --csv FILE                   the file to write (default: beside the checkpoint)
  --json FILE.jsonl            JSON Lines instead, one file per process (videonl merge joins them);
                               a run that was killed continues when it is started again
{EVALUATION}
--help_all lists every option."""

PAGES = {"fit": FIT, "validate": VALIDATE, "test": TEST, "predict": PREDICT}
